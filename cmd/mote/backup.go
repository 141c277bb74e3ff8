//go:build !gateway

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"mote/internal/cloud/backup"
	"mote/internal/endpoints"
)

type backupCmd struct {
	Dir string `arg:"" help:"Directory to make; it is not there yet, or empty." type:"path"`
	dataFlag
	Buckets bool `help:"With the objects that rules and exports have written into buckets."`
}

// Run copies the data of a cloud, which may be running.
func (c backupCmd) Run(s *session) error {
	if err := endpoints.Access(c.Data); err != nil {
		return usageError{err}
	}
	p := &backup.Progress{}
	stop := showProgress(s.stderr, p.Text)
	m, err := backup.Make(s.ctx, backup.Options{Data: c.Data, Dir: c.Dir, Buckets: c.Buckets, Progress: p})
	stop()
	if errors.Is(err, backup.ErrNoData) {
		return usagef("%w: name it with --data", err)
	}
	if err != nil {
		return interrupted(s.ctx, "no backup was made", err)
	}
	for _, name := range m.LeftOut {
		fmt.Fprintf(s.stderr, "left out: %s is neither a file nor a directory\n", name)
	}
	items := int64(0)
	for _, t := range m.Tables {
		items += t.Items
	}
	_, err = fmt.Fprintf(s.stdout, "backed up account %s to %s and read it back: %s, %s\nbring it back with: mote restore %s --data DIR\n",
		m.Account, c.Dir, count(int64(len(m.Tables)), "table"), count(items, "item"), shellQuote(c.Dir))
	return err
}

type restoreCmd struct {
	Backup string `arg:"" help:"Directory that mote backup has made." type:"existingdir"`
	dataFlag
}

// Run makes a data directory of a backup.
func (c restoreCmd) Run(s *session) error {
	p := &backup.Progress{}
	stop := showProgress(s.stderr, p.Text)
	m, err := backup.Restore(s.ctx, c.Backup, c.Data, p)
	stop()
	if err != nil {
		return interrupted(s.ctx, "nothing was restored", err)
	}
	flag := ""
	if c.Data != defaultData() {
		flag = " --data " + shellQuote(c.Data)
	}
	_, err = fmt.Fprintf(s.stdout, "restored account %s to %s, as it was at %s\nstart it with: mote cloud%s\nthe old cloud must not run beside it: both are the same account, and devices trust both\n",
		m.Account, c.Data, m.Made.Local().Format("2006-01-02 15:04:05 MST"), flag)
	return err
}

type verifyCmd struct {
	Dir string `arg:"" optional:"" help:"A backup, or the data directory of a cloud; default: that of --data." type:"existingdir" placeholder:"BACKUP"`
	dataFlag
}

// Run reads everything and says what is wrong.
func (c verifyCmd) Run(s *session) error {
	dir := c.Data
	if c.Dir != "" {
		dir = c.Dir
	}
	if err := endpoints.Access(dir); err != nil {
		return usageError{err}
	}
	p := &backup.Progress{}
	stop := showProgress(s.stderr, p.Text)
	r, err := backup.Verify(s.ctx, dir, p)
	stop()
	if errors.Is(err, backup.ErrNoData) {
		return usageError{err} // mistyped: nothing is damaged, and nothing to be done about it
	}
	if err != nil {
		return interrupted(s.ctx, "not verified", fmt.Errorf("%s cannot be read to its end: %w\n%s", dir, err, adviceOn(dir)))
	}
	if err := printReport(s, dir, r); err != nil {
		return err
	}
	if faults := r.Faults(); len(faults) > 0 {
		return fmt.Errorf("%s is damaged:\n  %s\n%s", dir, strings.Join(faults, "\n  "), adviceOn(dir))
	}
	_, err = fmt.Fprintln(s.stdout, "everything was read, nothing is wrong")
	return err
}

// adviceOn says what to do about damage.
func adviceOn(dir string) string {
	if backup.IsBackup(dir) {
		return "do not restore this backup: use another one, and check the disk that it lies on"
	}
	return "stop the cloud, keep a copy of the directory, check the disk and the memory of this machine, and restore the last good backup: mote restore BACKUP --data DIR"
}

func printReport(s *session, dir string, r *backup.Report) error {
	state := "stopped"
	switch {
	case r.Backup != nil:
		state = "backup of " + r.Backup.Made.Local().Format("2006-01-02 15:04:05 MST")
	case r.Running:
		state = "running; as of a moment ago"
	}
	account := "account " + r.Account
	if r.Account == "" {
		account = "its account cannot be read"
	}
	fmt.Fprintf(s.stdout, "%s: %s, %s\n", dir, account, state)
	w := tabwriter.NewWriter(s.stdout, 0, 0, 2, ' ', 0)
	if len(r.Tables) > 0 {
		fmt.Fprintln(w, "table\titems\tMiB\tindex entries\twrong")
	}
	for _, t := range r.Tables {
		fmt.Fprintf(w, "%s\t%d\t%.1f\t%d\t%d\n", t.Name, t.Items, float64(t.Bytes)/(1<<20), t.Entries, t.Wrong)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if r.Records.Streams+r.Records.Exports > 0 {
		fmt.Fprintf(s.stdout, "%s with %s, %s\n", count(r.Records.Streams, "stream"), count(r.Records.Changes, "record"), count(r.Records.Exports, "export"))
	}
	if r.Outbox.Waiting+r.Outbox.Aside > 0 {
		_, err := fmt.Fprintf(s.stdout, "outbox: %d waiting, %d set aside as unreadable\n", r.Outbox.Waiting, r.Outbox.Aside)
		return err
	}
	return nil
}

// interrupted says what Ctrl-C has left.
func interrupted(ctx context.Context, outcome string, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return errors.New("stopped: " + outcome)
	}
	return err
}

func count(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
