// Package test tries the whole system: the built binary, real clients, real
// files, signals and kill -9.
package test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"mote/internal/watch"
)

var (
	binary  string // the mote under test
	torture = flag.Int("torture", 2, "how often the torture tests kill each process")
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "mote-test")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "mote")
	build := exec.Command("go", "build", "-o", binary, "mote/cmd/mote")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// process is a running mote.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	out  *watch.Log
	done chan struct{} // closed when it has ended
	err  error         // of Wait; valid after done
}

// start runs mote with args and ends it with the test.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(binary, args...), out: &watch.Log{}, done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.Env = append(os.Environ(), "AWS_EC2_METADATA_DISABLED=true")
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("mote %s printed:\n%s", strings.Join(args, " "), p.out)
		}
	})
	return p
}

// kill is kill -9.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// interrupt is Ctrl-C; it returns how long the process took to end, without the
// time in which this machine was busy with others.
func (p *process) interrupt() time.Duration {
	p.t.Helper()
	machine, began := watchPace(), time.Now()
	_ = p.cmd.Process.Signal(syscall.SIGINT)
	select {
	case <-p.done:
	case <-time.After(10 * patience * time.Second):
		p.t.Fatalf("still running %d s after Ctrl-C; it printed:\n%s", 10*patience, p.out)
	}
	took, lost := time.Since(began), machine.lost()
	p.t.Logf("stopped in %v, in which programs waited %v for this machine", took, lost)
	return took - lost
}

// pace notes how long this machine keeps programs from running.
type pace struct {
	pressed time.Duration // at the beginning
	quit    chan struct{}
	stood   chan time.Duration // in which nothing ran at all
}

func watchPace() *pace {
	p := &pace{pressed: pressed(), quit: make(chan struct{}), stood: make(chan time.Duration)}
	go func() { // ends with lost
		const nap = 10 * time.Millisecond
		stood := time.Duration(0)
		for last := time.Now(); ; {
			select {
			case <-p.quit:
				p.stood <- stood + time.Since(last)/nap*nap
				return
			case <-time.After(nap):
				stood += time.Since(last)/nap*nap - nap
				last = time.Now()
			}
		}
	}()
	return p
}

// lost ends the watch and says for how long a program may have stood still.
func (p *pace) lost() time.Duration {
	close(p.quit)
	return max(<-p.stood, pressed()-p.pressed)
}

// pressed is how long, since the machine began, any of its programs has waited
// for a processor, for memory or for the disk; 0 where Linux does not count that.
func pressed() (sum time.Duration) {
	for _, file := range []string{"cpu", "memory", "io"} {
		text, _ := os.ReadFile("/proc/pressure/" + file)
		_, total, _ := strings.Cut(string(text), "total=")
		us, _, _ := strings.Cut(total, "\n")
		n, _ := strconv.ParseInt(us, 10, 64)
		sum += time.Duration(n) * time.Microsecond
	}
	return sum
}

// endpoints is endpoints.json.
type endpoints struct {
	MQTT, HTTPS, HTTP, CA, Region, Account string
	APIKeyFile                             string `json:"api_key_file"`
	PID                                    int
}

// host is a running cloud with its data directory.
type host struct {
	*process
	data string
	ep   endpoints
	dial func(ctx context.Context, network, addr string) (net.Conn, error) // to it, when it is in a network of its own
}

// freePorts are the listener flags of a cloud beside others.
var freePorts = []string{"--mqtt", "127.0.0.1:0", "--https", "127.0.0.1:0", "--http", "127.0.0.1:0"}

// startHost starts mote VERB on data and waits until it is ready.
func startHost(t *testing.T, data, verb string, args ...string) *host {
	t.Helper()
	return startHostOn(t, data, verb, append(append([]string{}, freePorts...), args...)...)
}

func startHostOn(t *testing.T, data, verb string, args ...string) *host {
	t.Helper()
	h := &host{process: start(t, append([]string{verb, "--data", data}, args...)...), data: data}
	waitFor(t, "endpoints.json", 30*time.Second, func() error {
		select {
		case <-h.done:
			t.Fatalf("mote %s ended: %v\n%s", verb, h.err, h.out)
		default:
		}
		text, err := os.ReadFile(filepath.Join(data, "endpoints.json"))
		if err != nil {
			return err
		}
		if err := json.Unmarshal(text, &h.ep); err != nil {
			return err
		}
		if h.ep.PID != h.cmd.Process.Pid {
			return errors.New("endpoints.json is of an earlier process")
		}
		return nil
	})
	return h
}

// patience is how much longer than on an idle machine a test waits before it
// gives up: it may share its machine with others.
const patience = 4

// waitFor polls until ok returns nil.
func waitFor(t *testing.T, what string, limit time.Duration, ok func() error) {
	t.Helper()
	limit *= patience
	deadline := time.Now().Add(limit)
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no %s within %v: %v", what, limit, err)
		}
		time.Sleep(30 * time.Millisecond)
	}
}

// aws is the SDK configuration for the cloud.
func (h *host) aws() aws.Config {
	h.t.Helper()
	options := []func(*awsconfig.LoadOptions) error{
		awsconfig.WithSharedCredentialsFiles([]string{filepath.Join(h.data, "credentials")}),
		awsconfig.WithSharedConfigFiles([]string{filepath.Join(h.data, "config")}),
		awsconfig.WithSharedConfigProfile("default"),
		awsconfig.WithBaseEndpoint(h.ep.HTTP), awsconfig.WithRegion(h.ep.Region),
	}
	if h.dial != nil {
		options = append(options, awsconfig.WithHTTPClient(awshttp.NewBuildableClient().WithTransportOptions(func(tr *http.Transport) { tr.DialContext = h.dial })))
	}
	cfg, err := awsconfig.LoadDefaultConfig(context.Background(), options...)
	if err != nil {
		h.t.Fatal(err)
	}
	return cfg
}

// rows returns every item of a table.
func (h *host) rows(table string) []map[string]types.AttributeValue {
	h.t.Helper()
	var items []map[string]types.AttributeValue
	pages := dynamodb.NewScanPaginator(dynamodb.NewFromConfig(h.aws()), &dynamodb.ScanInput{TableName: &table})
	for pages.HasMorePages() {
		page, err := pages.NextPage(context.Background())
		if err != nil {
			h.t.Fatalf("scan %s: %v", table, err)
		}
		items = append(items, page.Items...)
	}
	return items
}

// text is a string or number attribute.
func text(v types.AttributeValue) string {
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		return v.Value
	case *types.AttributeValueMemberN:
		return v.Value
	}
	return fmt.Sprintf("%T", v)
}

// env is the environment in which AWS tools find the cloud's access key.
func (h *host) env() []string {
	return append(os.Environ(),
		"AWS_SHARED_CREDENTIALS_FILE="+filepath.Join(h.data, "credentials"),
		"AWS_CONFIG_FILE="+filepath.Join(h.data, "config"),
		"AWS_DEFAULT_REGION="+h.ep.Region, "AWS_EC2_METADATA_DISABLED=true", "AWS_PAGER=")
}

// run runs another program and returns what it printed on standard output.
func (h *host) run(name string, args ...string) (string, error) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = h.env()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w\n%s%s", name, strings.Join(args, " "), err, out.String(), errs.String())
	}
	return out.String(), nil
}

func (h *host) mustRun(name string, args ...string) string {
	h.t.Helper()
	out, err := h.run(name, args...)
	if err != nil {
		h.t.Fatal(err)
	}
	return out
}

// tool is the path of a program that the tests need.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v: run make test, which installs it, or test/install-tools", err)
	}
	return path
}
