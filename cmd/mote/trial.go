package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"mote/internal/config"
	"mote/internal/edge/doctor"
	"mote/internal/edge/uplink"
	"mote/internal/reading"
)

// trials send a reading through each uplink of file as the gateway would, with
// dir in the place of what a gateway writes to.
func trials(file *config.File, dir string) map[string]func(context.Context) error {
	all := map[string]func(context.Context) error{}
	log := slog.New(slog.DiscardHandler)
	try := func(name string, make func(ctx context.Context, refused string) (sender, error)) {
		all[name] = func(ctx context.Context) error {
			refused := filepath.Join(dir, name)
			u, err := make(ctx, refused)
			if err != nil {
				return err
			}
			return deliverOne(ctx, u, refused)
		}
	}
	if u := file.Uplink.IoT; u != nil {
		try("iot", func(_ context.Context, refused string) (sender, error) {
			apart, err := certificateApart(u, dir)
			if err != nil {
				return nil, err
			}
			return newIoT(apart, refused, nil, log)
		})
	}
	if u := file.Uplink.REST; u != nil {
		try("rest", func(ctx context.Context, refused string) (sender, error) { return newREST(ctx, u, refused, log) })
	}
	if u := file.Uplink.DynamoDB; u != nil {
		try("dynamodb", func(ctx context.Context, refused string) (sender, error) { return newDynamoDB(ctx, u, refused, log) })
	}
	return all
}

// certificateApart is u with copies of its certificate and key in dir, which it
// does not renew: a new certificate, also one that lies beside the one in use, is
// left to the gateway.
func certificateApart(u *config.UplinkIoT, dir string) (*config.UplinkIoT, error) {
	apart := *u
	apart.Renew = config.Renew{}
	apart.Cert, apart.Key = filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	return &apart, errors.Join(copyFile(apart.Cert, u.Cert), copyFile(apart.Key, u.Key))
}

func copyFile(to, from string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o600)
}

// deliverOne runs an uplink until it has delivered a test reading, or tells why
// it cannot. refused is its file of refused records.
func deliverOne(ctx context.Context, u sender, refused string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := reading.Reading{Time: time.Now().UTC(), ID: doctor.TestBoard, Fields: []reading.Field{{Name: "doctor", Text: "1", Number: true}}}
	q := &single{record: r.AppendJSON(nil), acked: make(chan struct{})}
	ended := make(chan error, 1)
	go func() { ended <- u.Run(ctx, q) }()
	defer func() { cancel(); <-ended }()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-q.acked:
			return refusal(refused)
		case <-tick.C:
			if s := u.Status(); s.Failures > 0 {
				return errors.New(s.LastError)
			}
		case <-ctx.Done():
			return errors.New("no acknowledgement came")
		}
	}
}

// refusal reads why a record was refused; nil when none was.
func refusal(file string) error {
	data, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	var line struct{ Reason string }
	if err := errors.Join(err, json.Unmarshal(data, &line)); err != nil {
		return err
	}
	return errors.New(line.Reason)
}

// single is an uplink.Queue of one record.
type single struct {
	record []byte
	acked  chan struct{} // closed by Ack
	once   sync.Once

	mu    sync.Mutex
	taken bool // guarded by mu
}

var _ uplink.Queue = (*single)(nil)

func (q *single) Next(ctx context.Context) (uint64, []byte, error) {
	q.mu.Lock()
	first := !q.taken
	q.taken = true
	q.mu.Unlock()
	if first {
		return 1, q.record, nil
	}
	<-ctx.Done()
	return 0, nil, ctx.Err()
}

func (q *single) Ack(uint64) { q.once.Do(func() { close(q.acked) }) }

func (q *single) Rewind() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.taken = false
}
