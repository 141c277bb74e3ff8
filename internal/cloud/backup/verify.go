package backup

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"mote/internal/cloud/outbox"
	"mote/internal/cloud/registry"
	"mote/internal/cloud/store"
	"mote/internal/cloud/table"
)

// Report is what is in a store, and what is wrong with it.
type Report struct {
	Account string
	Running bool             // the cloud ran meanwhile
	Backup  *Manifest        // of a backup; else nil
	Files   map[string]error // damaged table files
	Keys    map[string]int64 // by key space
	Strange []string         // key spaces that nobody owns
	Tables  []table.Verified
	Records table.VerifiedRecords // streams and exports of tables
	Outbox  outbox.Verified
	Differs error // from the manifest of the backup
}

// Verify reads everything in a data directory or a backup, with all checksums,
// and changes nothing. An error means that it could not be read to its end.
func Verify(ctx context.Context, dir string, p *Progress) (r *Report, err error) {
	if IsBackup(dir) {
		return verifyBackup(ctx, dir, p)
	}
	src, err := openSource(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	if r, err = examine(ctx, src.store, p); r != nil {
		r.Running = src.running
	}
	return r, err
}

func verifyBackup(ctx context.Context, dir string, p *Progress) (*Report, error) {
	m, s, err := load(dir)
	if err != nil {
		return nil, err
	}
	if err := checkNames(dir, s); err != nil {
		return nil, err
	}
	p.begin("comparing sums")
	var wrong []error
	for _, f := range s {
		if err := f.check(ctx, dir, p); err != nil {
			wrong = append(wrong, err)
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	r, err := examine(ctx, filepath.Join(dir, storeDir), p)
	if err != nil {
		return nil, errors.Join(append(wrong, err)...)
	}
	r.Backup = m
	r.Differs = errors.Join(append(wrong, m.compare(r))...)
	return r, nil
}

// examine reads the store in dir, where nobody writes.
func examine(ctx context.Context, dir string, p *Progress) (r *Report, err error) {
	p.begin("opening the store")
	st, err := store.OpenReadOnly(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	r = &Report{}
	p.begin("reading the store's files")
	if r.Files, err = st.CheckFiles(ctx, p.addBytes); err != nil {
		return r, err
	}
	err = st.Guard(func() error {
		p.begin("reading every key")
		if err := r.readKeys(ctx, st, p); err != nil {
			return err
		}
		p.begin("reading the tables")
		if r.Tables, err = table.Verify(ctx, st, p.addItems); err != nil {
			return err
		}
		p.begin("reading streams and exports")
		if r.Records, err = table.VerifyRecords(ctx, st, p.addItems); err != nil {
			return err
		}
		if r.Outbox, err = outbox.Verify(ctx, st); err != nil {
			return err
		}
		r.Account, err = registry.AccountIn(st)
		return err
	})
	if err != nil && len(r.Files) > 0 {
		return r, nil // the damaged files explain it
	}
	return r, err
}

// readKeys reads every key and its value.
func (r *Report) readKeys(ctx context.Context, st *store.Frozen, p *Progress) error {
	it, err := st.Iterator(nil, nil)
	if err != nil {
		return err
	}
	defer it.Close()
	r.Keys = map[string]int64{}
	strange := map[string]bool{}
	for it.First(); it.Valid(); it.Next() {
		key, value := it.Key(), it.Value()
		p.addBytes(int64(len(key) + len(value)))
		name := ""
		if len(key) > 0 {
			name = store.Space(key[0]).Name()
		}
		if name == "" {
			strange[fmt.Sprintf("%.1q", key)] = true
			continue
		}
		if r.Keys[name]++; r.Keys[name]&0xfff == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
	}
	r.Strange = slices.Sorted(maps.Keys(strange))
	return it.Error()
}

// tables are the sizes of the tables for a manifest.
func (r *Report) tables() []Table {
	out := []Table{}
	for _, t := range r.Tables {
		out = append(out, Table{t.Name, t.Items, t.Bytes})
	}
	return out
}

// fault returns the first thing that is wrong, or nil.
func (r *Report) fault() error {
	if faults := r.Faults(); len(faults) > 0 {
		return errors.New(faults[0])
	}
	return nil
}

// Faults are what is wrong, one line each; none when all is well.
func (r *Report) Faults() (faults []string) {
	for _, name := range slices.Sorted(maps.Keys(r.Files)) {
		faults = append(faults, fmt.Sprintf("the file %s of the store is damaged: %v", name, r.Files[name]))
	}
	for _, t := range r.Tables {
		for _, f := range t.Faults {
			faults = append(faults, "table "+t.Name+": "+f)
		}
		if more := t.Wrong - int64(len(t.Faults)); more > 0 {
			faults = append(faults, fmt.Sprintf("table %s: %d more of it", t.Name, more))
		}
	}
	faults = append(faults, r.Records.Faults...)
	if more := r.Records.Wrong - int64(len(r.Records.Faults)); more > 0 {
		faults = append(faults, fmt.Sprintf("%d more in streams, backups and exports", more))
	}
	for _, f := range r.Outbox.Faults {
		faults = append(faults, "outbox: "+f)
	}
	if more := r.Outbox.Wrong - int64(len(r.Outbox.Faults)); more > 0 {
		faults = append(faults, fmt.Sprintf("outbox: %d more of it", more))
	}
	if len(r.Strange) > 0 {
		faults = append(faults, "keys of a newer mote, or of nobody: they begin with "+strings.Join(r.Strange[:min(len(r.Strange), 8)], ", "))
	}
	if r.Differs != nil {
		faults = append(faults, strings.Split(r.Differs.Error(), "\n")...)
	}
	return faults
}

// compare holds what was found in a backup to what was there when it was made.
func (m *Manifest) compare(r *Report) error {
	was, is := slices.Clone(m.Tables), r.tables()
	sort.Slice(was, func(i, j int) bool { return was[i].Name < was[j].Name })
	sort.Slice(is, func(i, j int) bool { return is[i].Name < is[j].Name })
	if !slices.Equal(was, is) {
		return fmt.Errorf("the tables are not those of the manifest: it has %v, the store has %v", was, is)
	}
	if !maps.Equal(m.Keys, r.Keys) {
		return fmt.Errorf("the store has not the keys of the manifest: it has %v, the store has %v", m.Keys, r.Keys)
	}
	return nil
}

// ErrNoData refuses a directory where no cloud has its data.
var ErrNoData = errors.New("no data directory of a cloud")

// dataDir refuses what is no data directory.
func dataDir(dir string) error {
	at := filepath.Join(dir, storeDir)
	if store.IsStore(at) {
		return nil
	}
	if _, err := os.Stat(filepath.Join(dir, keptFiles[0])); err == nil {
		return fmt.Errorf("the store is missing: %s is there, and nothing of a store in %s", keptFiles[0], at)
	}
	why := "it has no directory " + storeDir
	if _, err := os.Stat(dir); err != nil {
		why = "there is no such directory"
	} else if _, err := os.Stat(at); err == nil {
		why = "what is in its directory " + storeDir + " is no store of mote"
	}
	return fmt.Errorf("%s is %w: %s", dir, ErrNoData, why)
}
