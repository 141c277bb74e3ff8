package iotcore

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"mote/internal/mqtt"
	"mote/internal/mqtt/client"
)

// A certificate is replaced without a visit by putting the new one and its key
// beside those in use, under their names with [NextSuffix]; a certificate for the
// key in use comes without a key. Then:
//
//  1. The uplink connects with them. They are proven when the server has
//     acknowledged a reading, or after some seconds when there is none.
//  2. Proven, they replace the old ones: the key's file is renamed, then the
//     certificate's, each made durable before the next. After a kill between the
//     two, the new certificate with the key in use makes the pair: it is proven
//     again, and renamed.
//  3. When they fail three times, each time while the old ones work, they are
//     renamed to end in [RefusedSuffix] and the reason is logged. While the old
//     ones do not work either, they are kept and tried again.
const (
	NextSuffix    = ".new"
	RefusedSuffix = ".refused"
)

const (
	mostBlames = 3
	settled    = 10 * time.Second // files that changed so recently may still be being copied
)

// errRotate ends a session because there is a new certificate to prove.
var errRotate = errors.New("there is a new certificate")

// errUnproven ends a session with a new certificate.
var errUnproven = errors.New("the server acknowledged no reading that was published with the new certificate: check its policy")

// rotation is what is known of the certificate in use and of a new one.
type rotation struct {
	files Files
	addr  string
	pause time.Duration // between tries
	log   *slog.Logger

	renewed bool // the certificate is renewed without anybody's doing

	mu      sync.Mutex
	leaf    []byte    // guarded by mu; the new certificate that the fields below are about
	retryAt time.Time // guarded by mu; it is not tried before
	failure error     // guarded by mu; of the last try, nil when the old one has worked since
	blames  int       // guarded by mu; tries that failed while the old one worked
	unfit   string    // guarded by mu; what was logged of files that make no pair
	warned  string    // guarded by mu; what was logged of the end of the certificate in use
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// next are the files of a new certificate, if there is one.
func (f Files) next() (next Files, ok bool) {
	next = Files{Cert: f.Cert + NextSuffix, Key: f.Key + NextSuffix, CA: f.CA}
	if !exists(next.Cert) {
		return Files{}, false
	}
	if !exists(next.Key) {
		next.Key = f.Key
	}
	return next, true
}

// candidate returns the files of a new certificate that is to be tried at now.
func (r *rotation) candidate(now time.Time) (Files, bool) {
	next, ok := r.files.next()
	if !ok {
		r.finishRefusal()
		return Files{}, false
	}
	cfg, err := next.load(r.addr)
	if err == nil {
		err = next.expiry(cfg, now)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		if text := err.Error(); text != r.unfit && now.Sub(changed(next)) > settled {
			r.unfit = text
			r.log.Warn("the new certificate cannot be used, the old one stays", "error", err)
		}
		return Files{}, false
	}
	if leaf := cfg.Certificates[0].Leaf.Raw; !bytes.Equal(leaf, r.leaf) {
		r.leaf, r.retryAt, r.failure, r.blames = leaf, time.Time{}, nil, 0
	}
	return next, !now.Before(r.retryAt)
}

// changed is when the files were changed last.
func changed(f Files) (last time.Time) {
	for _, path := range []string{f.Cert, f.Key} {
		if info, err := os.Stat(path); err == nil && info.ModTime().After(last) {
			last = info.ModTime()
		}
	}
	return last
}

// failed notes that the server was not content with the new certificate, or not
// reached.
func (r *rotation) failed(err error, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.retryAt = now.Add(r.pause)
	if blameless(err) {
		return
	}
	r.failure = err
	r.log.Warn("the new certificate did not work, the old one is tried", "error", err)
}

// blameless says whether a failure cannot come from the certificate.
func blameless(err error) bool {
	var op *net.OpError
	var refused *client.RefusedError
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return true
	case errors.As(err, &op) && (op.Op == "dial" || op.Timeout()):
		return true
	case errors.As(err, &refused):
		switch refused.Code {
		case mqtt.ServerUnavailable, mqtt.ServerBusy, mqtt.QuotaExceeded, mqtt.ConnectionRateExceeded:
			return true
		}
	}
	return false
}

// oldWorks notes that the certificate in use works. A new one that failed just
// before is then to blame, and after some times it is put aside.
func (r *rotation) oldWorks() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failure == nil {
		return
	}
	why := r.failure
	r.failure = nil
	if r.blames++; r.blames < mostBlames {
		return
	}
	next, ok := r.files.next()
	if !ok {
		return
	}
	if err := perform(r.files.refusal(next)); err != nil {
		r.blames--
		r.log.Error("the new certificate does not work, and cannot be put aside", "error", err)
		return
	}
	r.log.Error("the new certificate does not work and is put aside, the old one stays", "file", r.files.Cert+RefusedSuffix, "reason", why)
}

// adopt replaces the certificate in use by the new one, which is proven. While
// that fails, each connection is made with the new one all the same.
func (r *rotation) adopt(next Files) (ok bool) {
	if err := perform(r.files.adoption(next)); err != nil {
		r.log.Error("the new certificate works and is used, but its files cannot be renamed to replace the old one: let the gateway's user write to the directory", "error", err)
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leaf, r.failure, r.blames, r.warned = nil, nil, 0, ""
	r.log.Info("the new certificate works and has replaced the old one", "file", r.files.Cert)
	return true
}

func perform(steps []func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// adoption are the steps by which next replaces f. The process may be killed
// between any two, and the power fail.
func (f Files) adoption(next Files) (steps []func() error) {
	if next.Key != f.Key {
		steps = append(steps, func() error { return makePrivate(next.Key) }, func() error { return makeDurable(next.Key) })
	}
	steps = append(steps, func() error { return makeDurable(next.Cert) })
	if next.Key != f.Key && next.Key != next.Cert {
		steps = append(steps, moves(next.Key, f.Key)...)
	}
	return append(steps, moves(next.Cert, f.Cert)...)
}

// makePrivate lets nobody but its owner read a file.
func makePrivate(path string) error {
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm()&0o077 == 0 {
		return err
	}
	return os.Chmod(path, 0o600)
}

// refusal are the steps by which next is put aside.
func (f Files) refusal(next Files) []func() error {
	steps := moves(next.Cert, f.Cert+RefusedSuffix)
	if next.Key != f.Key && next.Key != next.Cert {
		steps = append(steps, moves(next.Key, f.Key+RefusedSuffix)...)
	}
	return steps
}

// finishRefusal puts aside the key whose certificate was put aside when the
// process was killed.
func (r *rotation) finishRefusal() {
	key := r.files.Key + NextSuffix
	if !exists(key) {
		return
	}
	if _, err := tls.LoadX509KeyPair(r.files.Cert+RefusedSuffix, key); err == nil {
		_ = perform(moves(key, r.files.Key+RefusedSuffix)) // it is tried again
	}
}

// moves are the steps of a durable rename.
func moves(from, to string) []func() error {
	return []func() error{
		func() error { return os.Rename(from, to) },
		func() error { return makeDurable(filepath.Dir(to)) },
	}
}

// makeDurable makes a file or a directory durable.
func makeDurable(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// soon are the days before a certificate's end at which the log tells of it.
var soon = []int{1, 7, 30}

// warn tells of the end of the certificate in use, once at each of the days; of
// one that is renewed only when that is overdue: in the last week, and in the
// last quarter of its life.
func (r *rotation) warn(cfg *tls.Config, now time.Time) {
	leaf := cfg.Certificates[0].Leaf
	end := leaf.NotAfter
	left := end.Sub(now)
	if r.renewed && left > min(7*24*time.Hour, end.Sub(leaf.NotBefore)/4) {
		return
	}
	for _, days := range soon {
		if left > time.Duration(days)*24*time.Hour {
			continue
		}
		text := fmt.Sprint(end.Unix(), days)
		r.mu.Lock()
		told := r.warned == text
		r.warned = text
		r.mu.Unlock()
		if !told {
			r.log.Warn("the certificate ends soon: put a new one and its key beside it", "file", r.files.Cert, "ends", end.UTC().Format(time.RFC3339),
				"left", left.Round(time.Minute), "new", r.files.Cert+NextSuffix)
		}
		return
	}
}
