package sink

import (
	"fmt"
	"net"
	"strings"
	"unicode/utf8"

	"mote/internal/cloud/record"
)

// S3 is the action s3: the statement's result becomes an object, here a file
// DIR/BUCKET/KEY. A second object of the same key replaces the first (AWS IoT
// developer guide, "S3").
type S3 struct {
	Bucket, Key string
	Body        []byte
}

// Bounds of keys: that of S3 (Amazon S3 User Guide, "Naming Amazon S3 objects"),
// and that of file systems for each part between slashes.
const (
	maxObjectKey = 1024
	maxKeyPart   = 255
)

// Check says why the object can never be written, or nil.
func (s *S3) Check() error {
	if err := checkBucket(s.Bucket); err != nil {
		return err
	}
	return checkObjectKey(s.Key)
}

// checkBucket holds the general rules for names (Amazon S3 User Guide, "General
// purpose bucket naming rules").
func checkBucket(name string) error {
	bad := len(name) < 3 || len(name) > 63 || strings.Contains(name, "..") || net.ParseIP(name) != nil || strings.Trim(name, ".-") != name
	for _, r := range name {
		bad = bad || !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789.-", r)
	}
	if bad {
		return fmt.Errorf("s3: the bucket name %.80q is not allowed: 3 to 63 lower-case letters, digits, dots and hyphens", name)
	}
	return nil
}

func checkObjectKey(key string) error {
	switch {
	case key == "" || len(key) > maxObjectKey:
		return fmt.Errorf("s3: the key %.80q has %d bytes: want 1 to %d", key, len(key), maxObjectKey)
	case !utf8.ValidString(key) || strings.ContainsRune(key, 0):
		return fmt.Errorf("s3: the key %.80q is not text without NUL", key)
	}
	for part := range strings.SplitSeq(key, "/") {
		if part == "" || part == "." || part == ".." {
			return fmt.Errorf("s3: the key %.80q cannot be a file: it has an empty part, . or .. between its slashes", key)
		}
		if len(part) > maxKeyPart {
			return fmt.Errorf("s3: the key %.80q… cannot be a file: a part between slashes has %d bytes, at most %d are possible", key, len(part), maxKeyPart)
		}
	}
	return nil
}

// Lane returns the bucket.
func (s *S3) Lane() string { return s.Bucket }

// Encode returns the request for outbox.Entry.Data.
func (s *S3) Encode() []byte {
	dst := make([]byte, 0, len(s.Bucket)+len(s.Key)+len(s.Body)+4)
	return append(record.AppendText(record.AppendText(append(dst, encodingVersion), s.Bucket), s.Key), s.Body...)
}

// DecodeS3 reads an encoded request and checks it. The body is part of data.
func DecodeS3(data []byte) (*S3, error) {
	f := newFields(data)
	s := &S3{Bucket: f.text(), Key: f.text(), Body: f.rest()}
	if err := f.err(); err != nil {
		return nil, err
	}
	return s, s.Check()
}
