package main

import (
	"os"
	"time"
)

// idleFor is how long a process is left alone before its memory is read.
const idleFor = 10 * time.Second

// sizes measures both binaries, and the memory of gateways with an idle line
// and a connected uplink and of the cloud that they are connected to.
func (b *bench) sizes() error {
	c, err := b.newCloud()
	if err != nil {
		return err
	}
	defer c.stop()
	for _, build := range []struct {
		path, what string
		size, idle float64 // goals, MB
	}{{b.mote, "", 32, 20}, {b.edge, " (gateway only)", 15, 15}} {
		info, err := os.Stat(build.path)
		if err != nil {
			return err
		}
		b.report.add(row{what: "stripped binary" + build.what, unit: "MB", value: float64(info.Size()) / 1e6, goal: build.size, absolute: true})
		if err := b.idleGateway(build.path, build.what, build.idle, c); err != nil {
			return err
		}
	}
	return b.resident("idle cloud", 0, c.process)
}

// idleGateway measures the memory of the gateway in binary.
func (b *bench) idleGateway(binary, what string, goal float64, c *cloud) error {
	d, err := newBoard()
	if err != nil {
		return err
	}
	defer d.listener.Close()
	g, conn, err := b.startGateway(binary, c, d)
	if err != nil {
		return err
	}
	defer g.stop()
	defer conn.Close()
	select {
	case <-b.ctx.Done():
		return b.ctx.Err()
	case <-time.After(idleFor):
	}
	return b.resident("idle gateway"+what, goal, g)
}

// resident reports the memory of a process; a goal of 0 is none.
func (b *bench) resident(what string, goal float64, p *process) error {
	all, own, err := p.resident()
	if err != nil {
		return err
	}
	b.report.add(row{what: what + ", resident", unit: "MB", value: all, goal: goal, absolute: goal > 0})
	b.report.add(row{what: what + ", of it not pages of the binary", unit: "MB", value: own})
	return nil
}
