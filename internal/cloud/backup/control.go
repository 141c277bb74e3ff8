package backup

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"mote/internal/cloud/store"
)

const (
	socketName       = "control.sock"
	checkpointPrefix = "checkpoint-"
	askCheckpoint    = "checkpoint\n"

	askTime    = 5 * time.Second // for the question of a client
	maxClients = 4
	askMost    = 16 << 10 // bytes of a question
)

// answer is what a [Server] says to a client.
type answer struct {
	Name  string `json:"name,omitempty"` // of the checkpoint, in the data directory
	Error string `json:"error,omitempty"`

	Result json.RawMessage `json:"result,omitempty"` // of a [Handler]
}

// Server makes checkpoints of a running cloud for the programs of its user,
// through a socket in the data directory that only they can open.
type Server struct {
	data     string
	st       *store.Store
	log      *slog.Logger
	listener net.Listener
	slots    chan struct{}
	ctx      context.Context // ends with Close
	stop     context.CancelFunc
	clients  sync.WaitGroup

	mu       sync.Mutex
	handlers map[string]Handler // by the word that a question begins with; guarded by mu
}

// Handler answers the questions of one word.
type Handler func(ctx context.Context, body []byte) (result any, err error)

// Handle has h answer the questions of word from now on.
func (s *Server) Handle(word string, h Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.handlers == nil {
		s.handlers = map[string]Handler{}
	}
	s.handlers[word] = h
}

// handle answers a question that is not about a checkpoint.
func (s *Server) handle(conn net.Conn, question string) {
	word, body, _ := strings.Cut(strings.TrimSuffix(question, "\n"), " ")
	s.mu.Lock()
	h := s.handlers[word]
	s.mu.Unlock()
	if h == nil {
		reply(conn, answer{Error: "not a question of this mote: use the mote that runs the cloud"})
		return
	}
	result, err := h(s.ctx, []byte(body))
	if err != nil {
		reply(conn, answer{Error: err.Error()})
		return
	}
	data, err := json.Marshal(result)
	if err != nil {
		reply(conn, answer{Error: err.Error()})
		return
	}
	reply(conn, answer{Result: data})
}

// Ask has the cloud that runs in a data directory answer a question of word, and
// decodes the result into result.
func Ask(ctx context.Context, data, word string, body, result any) error {
	conn, err := dial(ctx, data)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("no cloud is running with the data directory %s: start it first, or name it with --data", data)
	}
	if err != nil {
		return fmt.Errorf("ask the running cloud of %s: %w", data, err)
	}
	defer conn.Close()
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	a, err := exchange(ctx, conn, word+" "+string(text)+"\n")
	if err != nil {
		return err
	}
	return json.Unmarshal(a.Result, result)
}

// Serve opens the socket. It removes what an earlier process left; the caller
// has the store open, so no other process serves this directory.
func Serve(data string, st *store.Store, log *slog.Logger) (*Server, error) {
	if err := removeLeftovers(data); err != nil {
		return nil, err
	}
	l, err := listen(data)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	s := &Server{data: data, st: st, log: log, listener: l, slots: make(chan struct{}, maxClients)}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.clients.Go(s.accept)
	return s, nil
}

func removeLeftovers(data string) error {
	entries, err := os.ReadDir(data)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), checkpointPrefix) || e.Name() == socketName {
			if err := os.RemoveAll(filepath.Join(data, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// through calls do with a short path of the socket: the name of one is at most
// 107 bytes long (unix(7)), that of a data directory may be longer.
func through(data string, do func(path string) error) error {
	dir, err := os.Open(data)
	if err != nil {
		return err
	}
	defer dir.Close()
	return do(fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), socketName))
}

func listen(data string) (l net.Listener, err error) {
	err = through(data, func(path string) (err error) {
		if l, err = net.Listen("unix", path); err == nil {
			l.(*net.UnixListener).SetUnlinkOnClose(false) // the path is good for this moment only
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(filepath.Join(data, socketName), 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// Close ends what is under way, waits for it, and removes the socket.
func (s *Server) Close() error {
	s.stop()
	err := s.listener.Close()
	s.clients.Wait()
	if gone := os.Remove(filepath.Join(s.data, socketName)); !errors.Is(gone, fs.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	return err
}

func (s *Server) accept() {
	for {
		conn, err := s.listener.Accept()
		if s.ctx.Err() != nil {
			if err == nil {
				_ = conn.Close()
			}
			return
		}
		if err != nil {
			s.log.Warn("cannot take a connection on the control socket", "err", err)
			select { // out of files, for example: it may pass
			case <-time.After(time.Second):
			case <-s.ctx.Done():
			}
			continue
		}
		select {
		case s.slots <- struct{}{}:
			s.clients.Go(func() {
				defer func() { <-s.slots }()
				s.serve(conn)
			})
		default:
			reply(conn, answer{Error: "too many backups are under way: wait for one to end"})
			_ = conn.Close()
		}
	}
}

// serve answers one client and keeps its checkpoint until it goes.
func (s *Server) serve(conn net.Conn) {
	unhook := context.AfterFunc(s.ctx, func() { _ = conn.Close() })
	defer unhook()
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(askTime))
	question, err := bufio.NewReader(io.LimitReader(conn, askMost)).ReadString('\n')
	_ = conn.SetDeadline(time.Time{})
	if err != nil || question != askCheckpoint {
		s.handle(conn, question)
		return
	}
	name := checkpointPrefix + rand.Text()[:12]
	dir := filepath.Join(s.data, name)
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			s.log.Warn("cannot remove a checkpoint, the next start does", "dir", dir, "err", err)
		}
	}()
	if err := s.st.Checkpoint(dir); err != nil {
		s.log.Warn("no checkpoint for a backup", "err", err)
		reply(conn, answer{Error: err.Error()})
		return
	}
	s.log.Info("checkpoint made for a backup", "dir", dir)
	reply(conn, answer{Name: name})
	_, _ = conn.Read(make([]byte, 1)) // until the client goes, or Close
}

func reply(conn net.Conn, a answer) {
	_ = conn.SetWriteDeadline(time.Now().Add(askTime))
	_ = json.NewEncoder(conn).Encode(a) // a client that is gone needs none
}

// source is a store that nobody writes to until it is closed.
type source struct {
	store   string // directory
	running bool   // of a cloud that runs: a checkpoint
	io.Closer
}

// openSource gets the store of a data directory: a checkpoint of the cloud that
// runs there, else its store itself, locked.
func openSource(ctx context.Context, data string) (*source, error) {
	if err := dataDir(data); err != nil {
		return nil, err
	}
	dir := filepath.Join(data, storeDir)
	lock, err := store.Lock(dir)
	if err == nil {
		return &source{dir, false, lock}, nil
	}
	if !errors.Is(err, store.ErrInUse) {
		return nil, err
	}
	conn, err := dial(ctx, data)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("%s is in use by a process that makes no checkpoints: it is just starting, or an older mote: try again, or stop it first", data)
	}
	if err != nil {
		return nil, fmt.Errorf("ask the running cloud of %s: %w", data, err)
	}
	name, err := ask(ctx, conn)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the running cloud of %s: %w", data, err), conn.Close())
	}
	return &source{filepath.Join(data, name), true, conn}, nil
}

func dial(ctx context.Context, data string) (conn net.Conn, err error) {
	err = through(data, func(path string) (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, "unix", path)
		return err
	})
	return conn, err
}

// exchange asks a question and returns the answer.
func exchange(ctx context.Context, conn net.Conn, question string) (a answer, err error) {
	unhook := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer unhook()
	if _, err := io.WriteString(conn, question); err != nil {
		return a, err
	}
	line, err := bufio.NewReader(io.LimitReader(conn, 1<<20)).ReadBytes('\n')
	if err := ctx.Err(); err != nil {
		return a, err
	}
	if err != nil {
		return a, fmt.Errorf("no answer: %w", err)
	}
	if err := json.Unmarshal(line, &a); err != nil {
		return a, fmt.Errorf("the answer cannot be read: %w", err)
	}
	if a.Error != "" {
		return a, errors.New(a.Error)
	}
	return a, nil
}

// ask gets the name of a new checkpoint.
func ask(ctx context.Context, conn net.Conn) (string, error) {
	a, err := exchange(ctx, conn, askCheckpoint)
	switch {
	case err != nil:
		return "", err
	case !strings.HasPrefix(a.Name, checkpointPrefix) || filepath.Base(a.Name) != a.Name:
		return "", fmt.Errorf("the answer names no checkpoint: %.80q", a.Name)
	}
	return a.Name, nil
}
