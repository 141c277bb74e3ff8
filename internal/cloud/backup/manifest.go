package backup

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"time"

	"mote/internal/cloud/store"
)

const (
	manifestName   = "manifest.json"
	sumsName       = "SHA256SUMS"
	manifestFormat = "mote-backup-1"

	// Bounds of what is read of a backup's own files.
	maxManifest = 16 << 20
	maxSums     = 512 << 20
)

// Manifest says what a backup holds.
type Manifest struct {
	Format  string           `json:"format"`
	Made    time.Time        `json:"made"` // when the copy began
	Account string           `json:"account"`
	Running bool             `json:"running"` // the cloud ran meanwhile
	Buckets bool             `json:"buckets"`
	Tables  []Table          `json:"tables"`
	Keys    map[string]int64 `json:"keys"` // in the store, by key space
	LeftOut []string         `json:"left_out,omitempty"`
}

// Table is how much of a table is in a backup.
type Table struct {
	Name  string `json:"name"`
	Items int64  `json:"items"`
	Bytes int64  `json:"bytes"`
}

// write puts the manifest and the sums into dir.
func (m *Manifest) write(dir string, s sums) error {
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	text = append(text, '\n')
	h := newHash()
	h.Write(text)
	s = append(s, sum{manifestName, hexOf(h)})
	return errors.Join(writeSynced(filepath.Join(dir, manifestName), text), writeSynced(filepath.Join(dir, sumsName), s.text()))
}

func writeSynced(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// IsBackup says whether dir looks like a backup.
func IsBackup(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, manifestName))
	return err == nil
}

// load reads the manifest and the sums of a backup.
func load(dir string) (*Manifest, sums, error) {
	text, err := readBounded(filepath.Join(dir, manifestName), maxManifest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("%s is no backup: it has no %s", dir, manifestName)
	}
	if err != nil {
		return nil, nil, err
	}
	m := &Manifest{}
	if err := json.Unmarshal(text, m); err != nil {
		return nil, nil, fmt.Errorf("%s of the backup: %w", manifestName, err)
	}
	if m.Format != manifestFormat {
		return nil, nil, fmt.Errorf("the backup has the format %.40q, this mote reads %q: use the mote that made it", m.Format, manifestFormat)
	}
	text, err = readBounded(filepath.Join(dir, sumsName), maxSums)
	if err != nil {
		return nil, nil, err
	}
	s, err := parseSums(text)
	return m, s, err
}

func readBounded(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("%s is larger than %d bytes", path, most)
	}
	return data, err
}

// sum is the SHA-256 of a file, in hex.
type sum struct{ name, hex string }

type sums []sum

// Names with these are written with an escape, as sha256sum does (coreutils
// manual, "cksum output modes").
var (
	escapeName   = strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`)
	unescapeName = strings.NewReplacer(`\\`, `\`, `\n`, "\n", `\r`, "\r")
)

// text is the file SHA256SUMS.
func (s sums) text() []byte {
	sort.Slice(s, func(i, j int) bool { return s[i].name < s[j].name })
	var out bytes.Buffer
	for _, f := range s {
		if name := escapeName.Replace(f.name); name != f.name {
			out.WriteString(`\` + f.hex + "  " + name + "\n")
		} else {
			out.WriteString(f.hex + "  " + name + "\n")
		}
	}
	return out.Bytes()
}

// parseSums reads SHA256SUMS. Its names stay within the backup.
func parseSums(text []byte) (s sums, err error) {
	bad := func(n int, why string) (sums, error) {
		return nil, fmt.Errorf("%s of the backup, line %d: %s", sumsName, n, why)
	}
	seen := map[string]bool{}
	for n := 1; len(text) > 0; n++ {
		line, rest, whole := bytes.Cut(text, []byte("\n"))
		if text = rest; !whole {
			return bad(n, "it is cut off")
		}
		written, escaped := strings.CutPrefix(string(line), `\`)
		digest, name, ok := strings.Cut(written, "  ")
		if raw, err := hex.DecodeString(digest); !ok || err != nil || len(raw) != 32 {
			return bad(n, "it is not a SHA-256 sum and a name")
		}
		if escaped {
			name = unescapeName.Replace(name)
		}
		if !filepath.IsLocal(name) || filepath.Clean(name) != name || name == sumsName || name == "." || strings.ContainsRune(name, 0) {
			return bad(n, fmt.Sprintf("%.80q is not the name of a file in a backup", name))
		}
		if seen[name] {
			return bad(n, fmt.Sprintf("%.80q is there twice", name))
		}
		seen[name] = true
		s = append(s, sum{name, strings.ToLower(digest)})
	}
	if !seen[manifestName] || !slices.ContainsFunc(s, func(f sum) bool {
		return filepath.Dir(f.name) == storeDir && f.name != filepath.Join(storeDir, store.LockFile)
	}) {
		return nil, fmt.Errorf("%s of the backup names no store, or not its manifest: it is cut off", sumsName)
	}
	return s, nil
}
