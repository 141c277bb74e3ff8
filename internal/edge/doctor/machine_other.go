//go:build !linux

package doctor

import "mote/internal/config"

const setClock = "set the clock"

func (e *exam) clock() { e.skip("clock", "it is looked at on Linux only") }

func (e *exam) serial(path string) {
	e.skip("source "+path, "serial devices are looked at on Linux only")
}

func (e *exam) bluetooth(s *config.Source) {
	e.skip("source "+s.Bluetooth, "Bluetooth is looked at on Linux only")
}
