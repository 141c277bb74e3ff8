package main

import (
	"os"
	"time"
)

// idleFor is how long a process is left alone before its memory is read.
const idleFor = 10 * time.Second

// sizes measures the binary, and the memory of a gateway with an idle line and
// a connected uplink and of the cloud that it is connected to.
func (b *bench) sizes() error {
	info, err := os.Stat(b.mote)
	if err != nil {
		return err
	}
	b.report.add(row{what: "stripped binary", unit: "MB", value: float64(info.Size()) / 1e6, goal: 32, absolute: true})
	c, err := b.newCloud()
	if err != nil {
		return err
	}
	defer c.stop()
	d, err := newBoard()
	if err != nil {
		return err
	}
	defer d.listener.Close()
	g, conn, err := b.startGateway(c, d)
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
	return b.memory(g, c.process)
}

func (b *bench) memory(gateway, cloud *process) error {
	all, own, err := gateway.resident()
	if err != nil {
		return err
	}
	b.report.add(row{what: "idle gateway, resident", unit: "MB", value: all, goal: 20, absolute: true})
	b.report.add(row{what: "idle gateway, of it not pages of the binary", unit: "MB", value: own})
	if all, own, err = cloud.resident(); err != nil {
		return err
	}
	b.report.add(row{what: "idle cloud, resident", unit: "MB", value: all})
	b.report.add(row{what: "idle cloud, of it not pages of the binary", unit: "MB", value: own})
	return nil
}
