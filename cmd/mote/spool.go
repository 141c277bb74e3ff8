package main

import "mote/internal/edge/spool"

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
