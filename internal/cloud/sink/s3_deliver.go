package sink

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"mote/internal/cloud/outbox"
)

// partsDir is where objects are while they are written. It is no bucket's name.
const partsDir = ".parts"

// S3Deliverer writes objects as files DIR/BUCKET/KEY, mode 0600, in directories
// of mode 0700. An object is whole or not there: it is written under another
// name, brought to the disk, and renamed; then the directory is brought to the
// disk. Nothing outside of DIR is written, whatever links are in it.
type S3Deliverer struct{ root *os.Root }

// NewS3 returns a deliverer for entries of KindS3. It makes the directory if it
// is not there, and removes what an interrupted write left.
func NewS3(dir string) (*S3Deliverer, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("s3: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("s3: %w", err)
	}
	if err := errors.Join(root.RemoveAll(partsDir), root.Mkdir(partsDir, 0o700)); err != nil {
		return nil, errors.Join(fmt.Errorf("s3: %w", err), root.Close())
	}
	return &S3Deliverer{root: root}, nil
}

// Close closes the directory. No delivery may be under way.
func (d *S3Deliverer) Close() error { return d.root.Close() }

// Deliver implements outbox.Deliverer.
func (d *S3Deliverer) Deliver(ctx context.Context, entries []*outbox.Entry) []error {
	errs := make([]error, len(entries))
	for i, e := range entries {
		if errs[i] = ctx.Err(); errs[i] != nil {
			continue
		}
		s, err := DecodeS3(e.Data)
		if err != nil {
			errs[i] = outbox.Fail(outbox.Permanent, err)
		} else if err := d.put(s); err != nil {
			errs[i] = s.explain(err)
		}
	}
	return errs
}

func (d *S3Deliverer) put(s *S3) error {
	name := path.Join(s.Bucket, s.Key)
	dir := path.Dir(name)
	if err := d.makeDirs(dir); err != nil {
		return err
	}
	part := path.Join(partsDir, rand.Text())
	if err := d.write(part, s.Body); err != nil {
		return errors.Join(err, d.root.Remove(part))
	}
	if err := d.root.Rename(part, name); err != nil {
		return errors.Join(err, d.root.Remove(part))
	}
	return d.sync(dir)
}

// makeDirs makes the directories down to dir, durably.
func (d *S3Deliverer) makeDirs(dir string) error {
	if info, err := d.root.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	parent := "."
	for i := 0; i <= len(dir); i++ {
		if i < len(dir) && dir[i] != '/' {
			continue
		}
		err := d.root.Mkdir(dir[:i], 0o700)
		if err == nil {
			err = d.sync(parent)
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		parent = dir[:i]
	}
	return nil
}

func (d *S3Deliverer) write(name string, data []byte) error {
	f, err := d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// sync brings the names in a directory to the disk.
func (d *S3Deliverer) sync(dir string) error {
	f, err := d.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// explain gives an error of put its class: what is in the way stays there, all
// else (a full disk, missing permission) can be mended.
func (s *S3) explain(err error) error {
	object := fmt.Sprintf("s3: the object %.200q of the bucket %s", s.Key, s.Bucket)
	switch {
	case errors.Is(err, syscall.ENOTDIR):
		return outbox.Fail(outbox.Permanent, fmt.Errorf("%s cannot be a file: a part of its key is an object itself: choose keys of which none continues another with a slash: %w", object, err))
	case errors.Is(err, syscall.EISDIR), errors.Is(err, syscall.ENOTEMPTY), errors.Is(err, fs.ErrExist):
		return outbox.Fail(outbox.Permanent, fmt.Errorf("%s cannot be a file: other objects' keys continue its key with a slash, so it is a directory: %w", object, err))
	case errors.Is(err, syscall.ENAMETOOLONG), errors.Is(err, syscall.ELOOP), strings.Contains(err.Error(), "path escapes from parent"): // os has no error value for it
		return outbox.Fail(outbox.Permanent, fmt.Errorf("%s cannot be written: %w", object, err))
	}
	return outbox.Fail(outbox.Busy, fmt.Errorf("%s cannot be written for now: %w", object, err))
}
