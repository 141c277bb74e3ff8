package spool

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"mote/internal/watch"
)

// shutdown is EXT4_IOC_SHUTDOWN with NOLOGFLUSH (the kernel's fs/ext4/ioctl.c):
// from now on nothing reaches the device any more, not even the journal, which
// is what a power cut does to a mounted file system.
const (
	shutdown   = 0x8004587D
	noLogFlush = uint32(2)
)

// card is an ext4 file system in a file, behind a loop device that does not
// cache.
type card struct {
	t     *testing.T
	image string
	dir   string // where it is mounted
	loop  string
}

func newCard(t *testing.T, megabytes int64) *card {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("a power cut needs a file system of its own: run the tests as root")
	}
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		t.Skip("mkfs.ext4 is missing: apt-get install e2fsprogs")
	}
	tmp := t.TempDir()
	c := &card{t: t, image: filepath.Join(tmp, "card.img"), dir: filepath.Join(tmp, "card")}
	f, err := os.Create(c.image)
	if err == nil {
		err = f.Truncate(megabytes << 20)
	}
	if err == nil {
		err = f.Close()
	}
	if err == nil {
		err = os.Mkdir(c.dir, 0o700)
	}
	if err != nil {
		t.Fatal(err)
	}
	c.must("mkfs.ext4", "-q", "-F", c.image)
	t.Cleanup(c.pull)
	return c
}

func (c *card) must(name string, args ...string) string {
	c.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		c.t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// mount puts the card in.
func (c *card) mount(flags uintptr) {
	c.t.Helper()
	out, err := exec.Command("losetup", "--direct-io=on", "--find", "--show", c.image).CombinedOutput()
	if err != nil {
		c.t.Skipf("no loop device here, so no power cut: %v: %s", err, out)
	}
	c.loop = strings.TrimSpace(string(out))
	if err := unix.Mount(c.loop, c.dir, "ext4", flags, ""); err != nil {
		c.t.Skipf("this user may not mount %s, so no power cut: %v", c.loop, err)
	}
}

// cut ends the power of the mounted card.
func (c *card) cut() {
	c.t.Helper()
	d, err := os.Open(c.dir)
	if err != nil {
		c.t.Fatal(err)
	}
	defer d.Close()
	how := noLogFlush
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, d.Fd(), shutdown, uintptr(unsafe.Pointer(&how))); errno != 0 {
		c.t.Fatalf("shut the file system down: %v", errno)
	}
}

// pull takes the card out.
func (c *card) pull() {
	if c.loop == "" {
		return
	}
	_ = unix.Unmount(c.dir, unix.MNT_DETACH)
	_ = exec.Command("losetup", "-d", c.loop).Run() // gone when the last user is
	c.loop = ""
}

// copied makes the card's image another file, as it is on the device.
func (c *card) copied() {
	c.t.Helper()
	from, err := os.Open(c.image)
	if err != nil {
		c.t.Fatal(err)
	}
	defer from.Close()
	to, err := os.Create(c.image + ".copy")
	if err == nil {
		_, err = io.Copy(to, from)
	}
	if err == nil {
		err = to.Close()
	}
	if err != nil {
		c.t.Fatal(err)
	}
	c.image += ".copy"
}

// TestPowerCut cuts the power of a real file system under a process that
// appends and delivers, takes a copy of the block image, mounts the copy, and
// looks for everything that Append had returned for.
func TestPowerCut(t *testing.T) {
	cuts := 3 // the last one leaves what it appended
	if os.Getenv("MOTE_TORTURE") != "" {
		cuts = 41
	}
	c := newCard(t, 80)
	appended, delivered := map[string]bool{}, map[string]bool{}
	for i := range cuts {
		c.mount(0)
		untilCut(t, c, i%2 == 0, appended, delivered)
		c.pull()
		first := c.image
		c.copied()
		if strings.HasSuffix(first, ".copy") {
			_ = os.Remove(first) // its copy is the card now
		}
	}
	c.mount(0)
	s := open(t, filepath.Join(c.dir, "spool"), killOptions)
	once := map[string]bool{}
	for _, rec := range drain(t, s.Reader("iot")) {
		name := string(rec.Data[:strings.IndexByte(string(rec.Data), ' ')])
		if once[name] {
			t.Errorf("%s is there twice", name)
		}
		once[name], delivered[name] = true, true
	}
	for name := range appended {
		if !delivered[name] {
			t.Errorf("%s was appended and is lost", name)
		}
	}
	t.Logf("%d records through %d power cuts, %d left at the end", len(appended), cuts, len(once))
	_ = s.Close()
}

// untilCut runs the victim on the card, which keeps what it appends or delivers
// it, and cuts the power under it. Its word counts up to the cut: a real one
// would end it too, and here a sync that the cut meets may still return.
func untilCut(t *testing.T, c *card, keep bool, appended, delivered map[string]bool) {
	var env []string
	if keep {
		env = append(env, keepEnv+"=1")
	}
	var dark atomic.Bool
	failed := ""
	v := startVictim(t, filepath.Join(c.dir, "spool"), 40, func(what, name string) {
		switch what {
		case "A":
			if !dark.Load() {
				appended[name] = true
			}
		case "D":
			delivered[name] = true
		default:
			failed = what + " " + name
		}
	}, env...)
	v.awaitEnough(t)
	time.Sleep(250 * time.Millisecond)
	dark.Store(true)
	c.cut()
	ended := time.AfterFunc(watch.Patience, func() { _ = v.cmd.Process.Kill() })
	defer ended.Stop()
	v.wait() // it ends because its disk did
	if !strings.Contains(failed, "spool") {
		t.Errorf("the victim did not notice that its disk failed: %q", failed)
	}
}

// TestADiskThatTurnsReadOnly: after an error ext4 takes no more writes. What
// waits is delivered all the same, appends say why they fail, and everything
// goes on when the disk was mounted anew.
func TestADiskThatTurnsReadOnly(t *testing.T) {
	c := newCard(t, 24)
	c.mount(0)
	dir := filepath.Join(c.dir, "spool")
	opts := Options{Readers: []string{"iot"}, SegmentBytes: MinSegmentBytes}
	s := open(t, dir, opts)
	add(t, s, "one", "two")
	c.must("mount", "-o", "remount,abort", c.dir)
	for range 3 {
		_, err := s.Append(t.Context(), []byte("three"))
		if err == nil || !strings.Contains(err.Error(), "kernel log") {
			t.Fatalf("append on a disk that failed: %v", err)
		}
	}
	r := s.Reader("iot")
	wantTexts(t, r, "one", "two")
	r.Ack(1) // which cannot be saved
	if err := s.Close(); err == nil {
		t.Error("the ack was saved on a read-only disk")
	}
	if s, err := Open(dir, opts); err != nil {
		t.Errorf("a spool on a read-only disk cannot be opened: %v", err)
	} else {
		wantTexts(t, s.Reader("iot"), "one", "two")
		_ = s.Close()
	}
	c.pull()
	c.mount(0)
	s = open(t, dir, opts)
	add(t, s, "four")
	wantTexts(t, s.Reader("iot"), "one", "two", "four")
	_ = s.Close()
}

// TestADiskThatVanishes: neither appends nor reads hang or end the process, and
// the same spool goes on with all of it when the disk is back, at first
// read-only.
func TestADiskThatVanishes(t *testing.T) {
	c := newCard(t, 24)
	c.mount(0)
	dir := filepath.Join(c.dir, "spool")
	opts := Options{Readers: []string{"iot"}, SegmentBytes: MinSegmentBytes}
	s := open(t, dir, opts)
	add(t, s, "one", "two")
	c.cut()
	for range 3 {
		if _, err := s.Append(t.Context(), []byte("three")); err == nil {
			t.Fatal("append without a disk")
		}
	}
	if st := s.Stats(); st.WriteErrors == 0 || st.LastError == "" {
		t.Errorf("%+v", st)
	}
	if got, err := s.Reader("iot").Poll(nil, 10); err == nil && len(got) != 2 {
		t.Errorf("%d records without an error", len(got))
	}
	c.pull()
	wantAway(t, s, "the card is out")
	c.mount(unix.MS_RDONLY) // under another device number, perhaps
	watch.Until(t, "word that it is read-only", func() bool {
		_, err := s.Append(t.Context(), []byte("three"))
		return err != nil && strings.Contains(err.Error(), "mount it writable")
	})
	c.must("mount", "-o", "remount,rw", c.dir)
	watch.Until(t, "an append that succeeds", func() bool {
		_, err := s.Append(t.Context(), []byte("four"))
		return err == nil
	})
	s.Reader("iot").Rewind()
	wantTexts(t, s.Reader("iot"), "one", "two", "four")
	_ = s.Close()
	s = open(t, dir, opts)
	wantTexts(t, s.Reader("iot"), "one", "two", "four")
	_ = s.Close()
}
