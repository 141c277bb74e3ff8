package test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"golang.org/x/sys/unix"
)

// disk is a small file system of its own.
type disk struct {
	t   *testing.T
	dir string
}

// newDisk mounts one of size MiB.
func newDisk(t *testing.T, size int) disk {
	t.Helper()
	dir := t.TempDir()
	err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", size))
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		t.Skipf("a full disk needs a file system of its own, and this user may not mount one (run the tests as root): %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return disk{t, dir}
}

func (d disk) filler() string { return filepath.Join(d.dir, "filler") }

// fill takes all space but leave KiB.
func (d disk) fill(leave int64) {
	d.t.Helper()
	f, err := os.Create(d.filler())
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	var st unix.Statfs_t
	if err := unix.Statfs(d.dir, &st); err != nil {
		d.t.Fatal(err)
	}
	size := int64(st.Bavail)*st.Bsize - leave<<10
	if size <= 0 {
		return
	}
	err = unix.Fallocate(int(f.Fd()), 0, 0, size)
	if errors.Is(err, unix.ENOSPC) { // someone else took some of it meanwhile
		_, err = io.Copy(f, zeros{})
		if errors.Is(err, unix.ENOSPC) {
			err = nil
		}
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

// zeros is an endless file of zeros.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func (d disk) free() {
	d.t.Helper()
	if err := os.Remove(d.filler()); err != nil {
		d.t.Fatal(err)
	}
}

// alive fails when the process has ended.
func (p *process) alive() {
	p.t.Helper()
	select {
	case <-p.done:
		p.t.Fatalf("it ended with %v and printed:\n%s", p.err, p.out)
	default:
	}
}

func (p *process) says(what string) {
	p.t.Helper()
	waitFor(p.t, strconv.Quote(what)+" in the log", 20*time.Second, func() error {
		if !strings.Contains(p.out.String(), what) {
			return errors.New("not there")
		}
		return nil
	})
}

func TestAFullDiskUnderTheSpoolStopsOnlyTheReading(t *testing.T) {
	t.Parallel()
	d := newDisk(t, 8)
	s := newSite(t, "")
	b := startWideBoard(t)
	s.configure(fmt.Sprintf("dir = %q", filepath.Join(d.dir, "spool")), b.listener.Addr().String(), s.iotUplink(s.mqtt))
	s.startGateway()
	d.awaitSpool()
	d.fill(0)
	s.gateway.says("no space left on device")
	s.gateway.says("free space on that disk")
	s.gateway.alive()
	s.startCloud() // what is in the spool is delivered from a full disk
	waitFor(t, "rows from a full disk", 20*time.Second, func() error {
		if n := len(s.cloud.numbers("t")); n < 100 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	full := b.written.Load()
	d.free()
	waitFor(t, "board that is read again", 20*time.Second, func() error {
		if n := b.written.Load(); n < full+100 {
			return fmt.Errorf("%d frames", n)
		}
		return nil
	})
	b.stop()
	s.wantAll(b.sent())
	wantStop(t, s.gateway)
}

// awaitSpool waits until something is spooled on d.
func (d disk) awaitSpool() {
	d.t.Helper()
	waitFor(d.t, "first file of the spool", 10*time.Second, func() error {
		if files, _ := filepath.Glob(filepath.Join(d.dir, "spool", "*.seg")); len(files) == 0 {
			return errors.New("none")
		}
		return nil
	})
}

// TestASpoolsDiskThatIsPulledOutAndComesBackReadOnly: the gateway says both,
// writes nothing into the empty mount point, and goes on by itself each time.
func TestASpoolsDiskThatIsPulledOutAndComesBackReadOnly(t *testing.T) {
	t.Parallel()
	d := newDisk(t, 8)
	at := t.TempDir()
	mount := func(from, at string, flags uintptr) {
		t.Helper()
		if err := unix.Mount(from, at, "", unix.MS_BIND|flags, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
	}
	readOnly := t.TempDir() // made here, since a mount on which files are open for writing stays writable
	mount(d.dir, readOnly, 0)
	mount(d.dir, readOnly, unix.MS_REMOUNT|unix.MS_RDONLY)
	mount(d.dir, at, 0)
	s := newSite(t, "")
	b := startWideBoard(t)
	s.configure(fmt.Sprintf("dir = %q", filepath.Join(at, "spool")), b.listener.Addr().String(), s.iotUplink(s.mqtt))
	s.startGateway()
	d.awaitSpool()
	if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	s.gateway.says("nothing is taken until it is back")
	s.gateway.says("mount its disk again")
	s.startCloud()
	if files, err := os.ReadDir(at); err != nil || len(files) > 0 {
		t.Errorf("in the mount point there is %v, %v", files, err)
	}
	mount(readOnly, at, 0)
	s.gateway.says("directory is back")
	s.gateway.says("mount it writable")
	s.gateway.alive()
	before := b.written.Load()
	mount(d.dir, at, unix.MS_REMOUNT)
	waitFor(t, "board that is read again", 20*time.Second, func() error {
		return countAtLeast(int64(b.written.Load()), int64(before)+100)
	})
	b.stop()
	s.wantAll(b.sent())
	wantStop(t, s.gateway)
}

// put writes one item with the SDK, without its retries.
func (h *host) put(id string, extra int) error {
	item := map[string]types.AttributeValue{"id": &types.AttributeValueMemberS{Value: id}, "time": &types.AttributeValueMemberS{Value: "0"}}
	if extra > 0 {
		item["extra"] = &types.AttributeValueMemberS{Value: strings.Repeat("x", extra)}
	}
	return h.putItem(item)
}

func (h *host) putItem(item map[string]types.AttributeValue) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*patience*time.Second)
	defer cancel()
	_, err := h.once().PutItem(ctx, &dynamodb.PutItemInput{TableName: aws.String("air"), Item: item})
	return err
}

// remove deletes a row.
func (h *host) remove(row map[string]types.AttributeValue) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*patience*time.Second)
	defer cancel()
	key := map[string]types.AttributeValue{"id": row["id"], "time": row["time"]}
	_, err := h.once().DeleteItem(ctx, &dynamodb.DeleteItemInput{TableName: aws.String("air"), Key: key})
	return err
}

// once is a client that does not try again.
func (h *host) once() *dynamodb.Client {
	return dynamodb.NewFromConfig(h.aws(), func(o *dynamodb.Options) { o.RetryMaxAttempts = 1 })
}

func TestAFullDiskUnderTheCloudRefusesWritesAndKeepsNobodyFromReading(t *testing.T) {
	t.Parallel()
	d := newDisk(t, 120)
	s := newSite(t, filepath.Join(d.dir, "data"))
	s.startCloud()
	key := "x-api-key: " + apiKey(t, s.cloud)
	b := startBoard(t, 5*time.Millisecond)
	s.configure(`dir = "spool"`, b.listener.Addr().String(), s.iotUplink(s.mqtt)+s.restUplink(s.web))
	s.startGateway()
	waitFor(t, "rows", 20*time.Second, func() error {
		if n := len(s.cloud.numbers("t")); n < 50 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	d.fill(40 << 10) // less than the reserve of 64 MiB
	s.cloud.says("data disk is full, refusing writes")

	for _, version := range []string{"5", "3.1.1"} {
		out, err := exec.Command(binary, "pub", "--data", s.data, "--mqtt", version, "sensors/x/air", `{"id":"x","time":"0"}`).CombinedOutput()
		if err == nil || version == "5" && !strings.Contains(string(out), "disk is full") {
			t.Errorf("mote pub over MQTT %s: %v, %s", version, err, out)
		}
		t.Logf("mote pub %s: %s", version, out)
	}
	req, _ := http.NewRequest(http.MethodPost, s.cloud.ep.HTTP+"/prod/dust", strings.NewReader(seedReading))
	req.Header.Set("X-Api-Key", strings.TrimPrefix(key, "x-api-key: "))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("REST: %s, Retry-After %q", resp.Status, resp.Header.Get("Retry-After"))
	}
	if err := s.cloud.put("x", 0); err == nil || retry.NewStandard().IsErrorRetryable(err) == false || !strings.Contains(err.Error(), "disk is full") {
		t.Errorf("PutItem: %v, which the SDK tries again: %v", err, retry.NewStandard().IsErrorRetryable(err))
	}
	_, err = iot.NewFromConfig(s.cloud.aws(), func(o *iot.Options) { o.RetryMaxAttempts = 1 }).CreateThing(context.Background(), &iot.CreateThingInput{ThingName: aws.String("late")})
	if err == nil || !retry.NewStandard().IsErrorRetryable(err) || !strings.Contains(err.Error(), "full") {
		t.Errorf("CreateThing: %v", err)
	}
	rows := len(s.cloud.rows("air"))
	if rows < 50 {
		t.Errorf("%d rows can be read", rows)
	}
	one := s.cloud.rows("air")[0]
	if err := s.cloud.remove(one); err != nil {
		t.Errorf("an item cannot be deleted, which would make space: %v", err)
	}
	if n := len(s.cloud.rows("air")); n != rows-1 {
		t.Errorf("%d rows became %d", rows, n)
	}
	if err := s.cloud.putItem(one); err == nil {
		t.Error("PutItem of the deleted row works on a full disk")
	}
	stored := len(s.cloud.numbers("t"))
	time.Sleep(500 * time.Millisecond)
	if n := len(s.cloud.numbers("t")); n != stored {
		t.Errorf("%d rows came to a full disk", n-stored)
	}
	s.gateway.alive()
	s.cloud.alive()
	d.free()
	s.cloud.says("data disk has space again")
	b.stop()
	if err := errors.Join(s.cloud.put("x", 0), s.cloud.putItem(one)); err != nil {
		t.Error(err)
	}
	s.wantAll(b.sent())
	wantStop(t, s.gateway)
	wantStop(t, s.cloud.process)
}

// TestADiskThatFillsAtOnceLosesNothingAcknowledged takes the last byte from
// under a busy cloud, again and again, faster than its look at the free space.
// It may refuse, or end with status 1 and a reason; the next start has all that
// was acknowledged.
func TestADiskThatFillsAtOnceLosesNothingAcknowledged(t *testing.T) {
	t.Parallel()
	d := newDisk(t, 160)
	s := newSite(t, filepath.Join(d.dir, "data"))
	s.startCloud()
	var mu sync.Mutex
	acked := map[string]bool{} // guarded by mu
	quit := make(chan struct{})
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-quit:
					return
				case <-s.cloud.done:
					return
				default:
				}
				id := fmt.Sprintf("w%d-%d", w, i)
				if s.cloud.put(id, 60<<10) == nil {
					mu.Lock()
					acked[id] = true
					mu.Unlock()
				}
			}
		})
	}
	waitFor(t, "acknowledged row", 10*time.Second, func() error {
		mu.Lock()
		defer mu.Unlock()
		return atLeast(len(acked), 1)
	})
	fills := 0
	for deadline := time.Now().Add(4 * time.Second); time.Now().Before(deadline); fills++ {
		time.Sleep(700 * time.Millisecond)
		d.fill(0)
		time.Sleep(150 * time.Millisecond)
		d.free()
		select {
		case <-s.cloud.done:
			deadline = time.Time{}
		default:
		}
	}
	close(quit)
	writers.Wait()
	ending := "went on"
	select {
	case <-s.cloud.done:
		ending = "stopped itself"
		var exit *exec.ExitError
		if !errors.As(s.cloud.err, &exit) || exit.ExitCode() != 1 || !strings.Contains(s.cloud.out.String(), "everything acknowledged is on disk") {
			t.Errorf("the cloud ended with %v", s.cloud.err)
		}
	default:
		s.cloud.kill()
	}
	// With no byte free the next start says so, and harms nothing.
	d.fill(0)
	again := start(t, append([]string{"cloud", "--data", s.data}, s.listeners...)...)
	select {
	case <-again.done:
	case <-time.After(10 * patience * time.Second):
		t.Fatalf("start on a full disk neither works nor fails:\n%s", again.out)
	}
	if again.err == nil || !strings.Contains(again.out.String(), "free some space and start again") {
		t.Errorf("start on a full disk ended with %v: %s", again.err, again.out)
	}
	d.free()
	s.startCloud()
	stored := map[string]bool{}
	for _, row := range s.cloud.rows("air") {
		stored[text(row["id"])] = true
	}
	for id := range acked {
		if !stored[id] {
			t.Errorf("%s was acknowledged and is not there", id)
		}
	}
	t.Logf("%d acknowledged, %d stored, the disk was filled %d times; the cloud: %v", len(acked), len(stored), fills, ending)
}
