package main

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"mote/internal/config"
	"mote/internal/edge/doctor"
	"mote/internal/edge/spool"
)

type spoolCmd struct {
	Dump spoolDumpCmd `cmd:"" help:"Print every record of a spool and who has acknowledged it; works on a running gateway's too."`
}

type spoolDumpCmd struct {
	Dir    string `arg:"" help:"Directory of the spool." type:"existingdir"`
	Output string `help:"text, or json: one object per line." enum:"text,json" default:"text" short:"o"`
}

// Run prints the spool and changes nothing.
func (c spoolDumpCmd) Run(s *session) error {
	return spool.Dump(s.stdout, c.Dir, spool.DumpOptions{JSON: c.Output == "json"})
}

// mostBeside bounds how many directories are looked into.
const mostBeside = 256

// leftBehind finds spools in which readings wait and which no gateway has open,
// beside the gateway's own and where it is when nothing is configured: most
// often the one of before spool.dir was changed.
func leftBehind(configFile, dir string) (left []doctor.Left) {
	beside, _ := os.ReadDir(filepath.Dir(dir)) // none where it cannot be read
	places := []string{filepath.Join(filepath.Dir(configFile), config.DefaultSpoolDir)}
	for _, e := range beside[:min(len(beside), mostBeside)] {
		if e.IsDir() {
			places = append(places, filepath.Join(filepath.Dir(dir), e.Name()))
		}
	}
	slices.Sort(places)
	for _, place := range slices.Compact(places) {
		if place == filepath.Clean(dir) {
			continue
		}
		if n := waitingIn(place); n > 0 {
			left = append(left, doctor.Left{Dir: place, Readings: n})
		}
	}
	return left
}

// waitingIn counts the readings in a spool that no gateway has open, with those
// that wait for their time; 0 when there is none.
func waitingIn(dir string) uint64 {
	n, err := spool.Left(dir)
	if errors.Is(err, spool.ErrLocked) {
		return 0
	}
	untimed, _ := spool.Left(filepath.Join(dir, "untimed")) // what cannot be read is no spool of ours
	return n + untimed
}

// tellLeftBehind logs what leftBehind finds.
func tellLeftBehind(log *slog.Logger, left []doctor.Left) {
	for _, l := range left {
		log.Warn("readings are left in another spool that no gateway uses: "+doctor.LeftRemedy, "spool", l.Dir, "waiting", l.Readings)
	}
}
