// Package websocket is the server's half of RFC 6455 for MQTT ("MQTT Version
// 5.0", chapter 6): the handshake, and a stream of bytes over binary frames.
// It promises that nothing a client sends takes more memory than its small read
// buffer; time is bounded by the deadlines that the user of a [Conn] sets.
// Extensions are not agreed to, text is refused, and who may connect is decided
// by others, before [Upgrade].
//
// It is our own because AWS's device SDK for Python sends a Sec-WebSocket-Key
// of 128 bytes, where the RFC wants 16 and the known packages insist on them.
package websocket

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// HandshakeError is why a request does not become a WebSocket.
type HandshakeError struct {
	Status int // HTTP
	Reason string
}

func (e *HandshakeError) Error() string { return "websocket: " + e.Reason }

// Answer tells the client.
func (e *HandshakeError) Answer(w http.ResponseWriter) {
	if e.Status == http.StatusUpgradeRequired {
		w.Header().Set("Upgrade", "websocket")
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Sec-WebSocket-Version", version)
	}
	http.Error(w, e.Reason, e.Status)
}

const version = "13"

// maxKey is the longest Sec-WebSocket-Key, decoded, in bytes. RFC 6455 has 16,
// the AWS IoT device SDK for Python sends 128.
const maxKey = 256

// handshakeWithin is how long the client has to take the answer.
const handshakeWithin = 10 * time.Second

// Upgrade answers a handshake (RFC 6455, section 4.2) and returns the
// connection, which the caller then owns, with all deadlines off. protocols
// are the sub-protocols that are spoken; the client's first one among them is
// agreed on. When the error is a [*HandshakeError], nothing was answered yet.
func Upgrade(w http.ResponseWriter, r *http.Request, protocols ...string) (*Conn, error) {
	key, protocol, err := examine(r, protocols)
	if err != nil {
		return nil, err
	}
	below, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, fmt.Errorf("websocket: take over the connection: %w", err)
	}
	_ = below.SetDeadline(time.Now().Add(handshakeWithin))
	answer := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + accept(key) +
		"\r\nSec-WebSocket-Protocol: " + protocol + "\r\n\r\n"
	if _, err := below.Write([]byte(answer)); err != nil {
		_ = below.Close()
		return nil, fmt.Errorf("websocket: answer: %w", err)
	}
	_ = below.SetDeadline(time.Time{})
	return newConn(below, ahead(rw.Reader), protocol), nil
}

// ahead is what the HTTP server has read beyond the request.
func ahead(r *bufio.Reader) []byte {
	b, _ := r.Peek(r.Buffered()) // what is buffered is there
	return b
}

// examine checks a handshake and returns its key and the sub-protocol.
func examine(r *http.Request, protocols []string) (key, protocol string, err error) {
	switch {
	case !hasToken(r.Header, "Connection", "upgrade"), !hasToken(r.Header, "Upgrade", "websocket"), !r.ProtoAtLeast(1, 1):
		return "", "", &HandshakeError{http.StatusUpgradeRequired, "this path speaks MQTT over WebSocket: connect with a WebSocket client, over HTTP/1.1"}
	case r.Method != http.MethodGet:
		return "", "", &HandshakeError{http.StatusMethodNotAllowed, "a WebSocket begins with GET"}
	case r.Header.Get("Sec-WebSocket-Version") != version:
		return "", "", &HandshakeError{http.StatusUpgradeRequired, "the WebSocket version is not " + version}
	case r.ContentLength != 0:
		return "", "", &HandshakeError{http.StatusBadRequest, "a WebSocket handshake has no body"}
	}
	keys := r.Header.Values("Sec-WebSocket-Key")
	if len(keys) == 1 {
		key = strings.TrimSpace(keys[0])
	}
	if decoded, err := base64.StdEncoding.DecodeString(key); err != nil || len(decoded) == 0 || len(decoded) > maxKey {
		return "", "", &HandshakeError{http.StatusBadRequest, "there must be one Sec-WebSocket-Key, in base64"}
	}
	for _, offered := range tokens(r.Header, "Sec-WebSocket-Protocol") {
		if slices.Contains(protocols, offered) {
			return key, offered, nil
		}
	}
	return "", "", &HandshakeError{http.StatusBadRequest, "the client must offer the WebSocket sub-protocol " + strings.Join(protocols, " or ") + " [MQTT-6.0.0-3]"}
}

// accept proves that the server has read the key (RFC 6455, section 4.2.2).
func accept(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// tokens are the members of a header that is a list.
func tokens(h http.Header, name string) (out []string) {
	for _, line := range h.Values(name) {
		for one := range strings.SplitSeq(line, ",") {
			out = append(out, strings.TrimSpace(one))
		}
	}
	return out
}

func hasToken(h http.Header, name, token string) bool {
	return slices.ContainsFunc(tokens(h, name), func(one string) bool { return strings.EqualFold(one, token) })
}
