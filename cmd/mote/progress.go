package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// showProgress keeps one line of w up to date with text, every second, until
// the returned function is called. It does nothing where w is no terminal.
func showProgress(w io.Writer, text func() string) (stop func()) {
	f, ok := w.(*os.File)
	if !ok || !isTerminal(f) {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var drawing sync.WaitGroup
	drawing.Go(func() {
		for tick := time.NewTicker(time.Second); ; {
			select {
			case <-tick.C:
				fmt.Fprintf(f, "\r\x1b[K%s", text())
			case <-ctx.Done():
				tick.Stop()
				fmt.Fprintf(f, "\r\x1b[K")
				return
			}
		}
	})
	return func() { cancel(); drawing.Wait() }
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
