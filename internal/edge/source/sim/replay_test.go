package sim

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The shape of a well-known hourly series, its gaps included.
const recording = `No,year,hour,pm2.5,DEWP,TEMP,cbwd
1,2010,0,,-21,-11,NW
2,2010,1,129,-16,-4,SE
3,2010,2,148,-15,NA,SE
4,2010,3,159.5,-11,-5,cv
`

func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "air.csv")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func openReplay(t *testing.T, text string, o ReplayOptions) *Replay {
	t.Helper()
	r, err := OpenReplay(write(t, text), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func TestReplay(t *testing.T) {
	r := openReplay(t, recording, ReplayOptions{Map: map[string]string{"dust": "pm2.5", "temp": "TEMP"}, Constant: "40"})
	for _, want := range []Values{{"129", "-4", "40"}, {"159.5", "-5", "40"}} {
		if got, err := r.Next(); err != nil || got != want {
			t.Errorf("%v, %v; want %v", got, err, want)
		}
	}
	for range 2 {
		if _, err := r.Next(); err != io.EOF {
			t.Errorf("at the end: %v", err)
		}
	}
	if r.Gaps() != 2 {
		t.Errorf("%d gaps", r.Gaps())
	}
}

func TestReplayConstantsAndLoop(t *testing.T) {
	r := openReplay(t, "\ufeffT, D\r\n1, 2\r\n", ReplayOptions{Map: map[string]string{"dust": "D", "temp": "T", "humid": "55.5"}, Loop: true})
	for range 3 {
		if got, err := r.Next(); err != nil || got != (Values{"2", "1", "55.5"}) {
			t.Errorf("%v, %v", got, err)
		}
	}
	r = openReplay(t, "T\n-\n", ReplayOptions{Map: map[string]string{"temp": "T"}, Loop: true})
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("a loop over nothing but gaps: %v", err)
	}
	r = openReplay(t, "T\n1\n", ReplayOptions{Map: map[string]string{"temp": "T"}})
	if got, err := r.Next(); err != nil || got != (Values{"0", "1", "0"}) {
		t.Errorf("fields left out: %v, %v", got, err)
	}
}

func TestReplayRefuses(t *testing.T) {
	dust := map[string]string{"dust": "D"}
	for _, c := range []struct {
		text string
		o    ReplayOptions
		want string
	}{
		{"", ReplayOptions{Map: dust}, "it is empty"},
		{recording, ReplayOptions{Map: map[string]string{"dust": "pm25"}}, `air.csv:1: column "pm25": there is no such column for dust; the file has No, year, hour, pm2.5,`},
		{recording, ReplayOptions{Map: map[string]string{"dist": "pm2.5"}}, `no field "dist"`},
		{recording, ReplayOptions{}, "no column is used"},
		{recording, ReplayOptions{Map: map[string]string{"dust": "7"}}, "no column is used"},
		{"D\n1\n", ReplayOptions{Map: dust, Constant: "x"}, `constant "x" for temp is not a number`},
		{"D,E\n1,2\n1,x\nx:y,1\n", ReplayOptions{Map: dust}, `air.csv:4: column "D": "x:y" is not a number`},
		{"D,E\n1,2\n3\n", ReplayOptions{Map: dust}, "air.csv:3: the row does not have the 2 columns"},
		{"D,E\n1,\"2\n3\n", ReplayOptions{Map: dust}, "air.csv:"},
		{"D\n0x1p4\n", ReplayOptions{Map: dust}, "is not a number"},
		{"D\nInf\n", ReplayOptions{Map: dust}, "is not a number"},
		{"D\n" + strings.Repeat("1", 41) + "\n", ReplayOptions{Map: dust}, "is not a number"},
	} {
		r, err := OpenReplay(write(t, c.text), c.o)
		for err == nil {
			_, err = r.Next()
		}
		if err == io.EOF || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.30q %v: %v; want it to say %s", c.text, c.o, err, c.want)
		}
	}
	if _, err := OpenReplay(filepath.Join(t.TempDir(), "no.csv"), ReplayOptions{Map: dust}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

func FuzzReplay(f *testing.F) {
	f.Add([]byte(recording))
	f.Add([]byte("\ufeffpm2.5\r\n\"1\"\r\n"))
	f.Add([]byte("pm2.5,\"a\"\"b\n\"\n1,2"))
	name := filepath.Join(f.TempDir(), "air.csv")
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := OpenReplay(name, ReplayOptions{Map: map[string]string{"dust": "pm2.5"}})
		if err != nil {
			return
		}
		defer r.Close()
		for rows := 0; ; rows++ {
			v, err := r.Next()
			if err != nil {
				return
			}
			if rows > len(text) || !number(v.Dust) || slices.ContainsFunc([]byte(v.Dust), func(c byte) bool { return strings.IndexByte(":{}\r\n", c) >= 0 }) {
				t.Fatalf("row %d of %q: %+v", rows, text, v)
			}
		}
	})
}
