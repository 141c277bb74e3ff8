package cloud

import (
	"crypto/tls"
	"fmt"
	"sync/atomic"
	"time"
)

// renewBefore is how long before its end the server certificate is replaced.
const renewBefore = 30 * 24 * time.Hour

// serverCertificate is the certificate of the TLS listeners, which is replaced
// while they run: connections that are open keep theirs, new ones get the new one.
type serverCertificate struct {
	issue   func() (tls.Certificate, error)
	current atomic.Pointer[tls.Certificate]
}

// newServerCertificate has a first certificate issued.
func newServerCertificate(issue func() (tls.Certificate, error)) (*serverCertificate, error) {
	s := &serverCertificate{issue: issue}
	return s, s.replace()
}

func (s *serverCertificate) replace() error {
	cert, err := s.issue()
	if err != nil {
		return fmt.Errorf("server certificate: %w", err)
	}
	s.current.Store(&cert)
	return nil
}

// get is a tls.Config.GetCertificate.
func (s *serverCertificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return s.current.Load(), nil
}

// notAfter is the end of the certificate that is served now.
func (s *serverCertificate) notAfter() time.Time { return s.current.Load().Leaf.NotAfter }

// renew replaces the certificate when its end is near, and says whether it did.
func (s *serverCertificate) renew(now time.Time) (bool, error) {
	if s.notAfter().Sub(now) > renewBefore {
		return false, nil
	}
	err := s.replace()
	return err == nil, err
}
