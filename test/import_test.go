package test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestABadRowIsNamed imports rows that are none, and looks for the line and the
// column in what is said of them.
func TestABadRowIsNamed(t *testing.T) {
	t.Parallel()
	h := startHost(t, t.TempDir(), "cloud")
	h.makeTable("bad")
	const names = "id,time,note,n\n"
	good := strings.Repeat("1,a,x,5\n", 30)
	for _, c := range []struct{ file, says string }{
		{names + good + "1,b," + strings.Repeat("x", 410<<10) + ",1\n" + good, "line 32, of 419854 bytes, 419840 of them in the column note: ValidationException: Item size"},
		{names + good + "1,b,x\n", "line 32: the row has 3 columns, and the file 4"},
		{names + "1,b,x," + strings.Repeat("1234567890", 4) + "\n", "line 2, column n (with --text n it is text): ValidationException"},
		{names + "1,\"a\"b,x,1\n", "line 2, at byte"},
		{names + good + ",b,x,1\n", "line 32: the key id is missing"},
	} {
		path := filepath.Join(t.TempDir(), "rows.csv")
		if err := os.WriteFile(path, []byte(c.file), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, errs, err := h.mote("", "import", "bad", path); err == nil || !strings.Contains(errs, c.says) || strings.Count(errs, "\n") != 1 {
			t.Errorf("want %q: %v, %.400s", c.says, err, errs)
		}
	}
	lines := `{"id":"1","time":"a"}` + "\n" + `{"Item":{"id":{"S":"1"},"time":{"S":"b"},"s":{"SS":[]}}}` + "\n"
	if _, errs, err := h.mote(lines, "import", "bad"); err == nil || !strings.Contains(errs, "line 2: ValidationException") {
		t.Errorf("%v, %s", err, errs)
	}
	h.interruptedImport(t)
}

// interruptedImport presses Ctrl-C in the middle of an import.
func (h *host) interruptedImport(t *testing.T) {
	cmd := exec.Command(binary, "import", "bad", "--data", h.data)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	fed := make(chan struct{})
	go func() { // rows without end, until nobody reads them
		defer close(fed)
		for i, err := 0, error(nil); err == nil; i++ {
			_, err = fmt.Fprintf(stdin, "{\"id\":\"c\",\"time\":\"%d\"}\n", i)
		}
	}()
	waitFor(t, "rows of the import", 20*time.Second, func() error { return atLeast(len(h.rows("bad")), 100) })
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	<-fed
	if err == nil || cmd.ProcessState.ExitCode() != 1 || strings.Count(errs.String(), "\n") != 1 ||
		!strings.Contains(errs.String(), "mote: stopped after ") || !strings.Contains(errs.String(), "run the same import again") {
		t.Errorf("%v: %s", err, &errs)
	}
}
