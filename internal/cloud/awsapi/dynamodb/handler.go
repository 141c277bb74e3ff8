// Package dynamodb speaks DynamoDB's wire, JSON 1.0 over HTTP (api version
// 2012-08-10): it checks requests in the order and with the texts of AWS, and
// hands them to package table.
package dynamodb

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"os"
	"strconv"
	"strings"

	"mote/internal/cloud/awsapi"
	"mote/internal/cloud/store"
	"mote/internal/cloud/table"
	"mote/internal/sigv4"
)

const (
	targetPrefix = "DynamoDB_20120810."
	maxBody      = 16 << 20 // bytes
)

// Options configure a Handler.
type Options struct {
	Region string       // shown to health checks; default us-east-1
	Log    *slog.Logger // default: discard

	// Buckets opens the directory that exports write below; the handler closes
	// what it returns. nil: exports are refused.
	Buckets func() (*os.Root, error)
}

// Handler serves the DynamoDB API. It is an [awsapi.Service]: signatures are
// verified before it.
type Handler struct {
	db     *table.DB
	region string
	log    *slog.Logger

	buckets func() (*os.Root, error)
}

var _ awsapi.Service = (*Handler)(nil)

// New returns a Handler over db.
func New(db *table.DB, o Options) *Handler {
	if o.Region == "" {
		o.Region = "us-east-1"
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Handler{db, o.Region, o.Log, o.Buckets}
}

// operations are what the handler offers.
var operations = map[string]func(*Handler, *input) ([]byte, error){
	"CreateBackup":                        (*Handler).createBackup,
	"DeleteBackup":                        (*Handler).deleteBackup,
	"DescribeBackup":                      (*Handler).describeBackup,
	"ListBackups":                         (*Handler).listBackups,
	"DescribeExport":                      (*Handler).describeExport,
	"ExportTableToPointInTime":            (*Handler).exportTable,
	"ListExports":                         (*Handler).listExports,
	"RestoreTableFromBackup":              (*Handler).restoreTable,
	"DescribeContinuousBackups":           (*Handler).describeContinuousBackups,
	"DescribeContributorInsights":         (*Handler).describeInsights,
	"DescribeKinesisStreamingDestination": (*Handler).describeKinesis,
	"GetResourcePolicy":                   (*Handler).getPolicy,
	"ListContributorInsights":             (*Handler).listInsights,
	"ListGlobalTables":                    (*Handler).listGlobalTables,
	"ListImports":                         (*Handler).listImports,
	"DescribeEndpoints":                   (*Handler).describeEndpoints,
	"DescribeLimits":                      (*Handler).describeLimits,
	"TagResource":                         (*Handler).tagResource,
	"UntagResource":                       (*Handler).untagResource,
	"UpdateContinuousBackups":             (*Handler).updateContinuousBackups,
	"BatchGetItem":                        (*Handler).batchGetItem,
	"BatchWriteItem":                      (*Handler).batchWriteItem,
	"CreateTable":                         (*Handler).createTable,
	"DeleteItem":                          (*Handler).deleteItem,
	"DeleteTable":                         (*Handler).deleteTable,
	"DescribeTable":                       (*Handler).describeTable,
	"ExecuteStatement":                    (*Handler).executeStatement,
	"BatchExecuteStatement":               (*Handler).batchExecuteStatement,
	"ExecuteTransaction":                  (*Handler).executeTransaction,
	"GetItem":                             (*Handler).getItem,
	"ListTables":                          (*Handler).listTables,
	"ListTagsOfResource":                  (*Handler).listTags,
	"PutItem":                             (*Handler).putItem,
	"Query":                               (*Handler).query,
	"Scan":                                (*Handler).scan,
	"TransactGetItems":                    (*Handler).transactGetItems,
	"TransactWriteItems":                  (*Handler).transactWriteItems,
	streamsPrefix + "ListStreams":         (*Handler).listStreams,
	streamsPrefix + "DescribeStream":      (*Handler).describeStream,
	streamsPrefix + "GetShardIterator":    (*Handler).getShardIterator,
	streamsPrefix + "GetRecords":          (*Handler).getRecords,
	"UpdateItem":                          (*Handler).updateItem,
	"UpdateTable":                         (*Handler).updateTable,
	"UpdateTimeToLive":                    (*Handler).updateTTL,
	"DescribeTimeToLive":                  (*Handler).describeTTL,
}

// ServeHTTP answers one call, with its checks in AWS's order (DynamoDB
// developer guide, "DynamoDB low-level API").
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h.answerPlain(w, r) {
		return
	}
	body, ok := h.body(w, r)
	if !ok {
		return
	}
	if !json.Valid(body) || len(body) == 0 {
		h.refuse(w, r, &wireError{status: http.StatusBadRequest, space: coral, code: "SerializationException"})
		return
	}
	name := target(r)
	operation, ok := operations[name]
	if !ok {
		h.refuse(w, r, unknownOperation(name))
		return
	}
	if err := authorize(r, name, body); err != nil {
		h.refuse(w, r, err)
		return
	}
	in, err := decode(name, body)
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	in.host = r.Host
	answer, err := operation(h, in)
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	respond(w, r, http.StatusOK, answer)
}

// Refuse answers a request whose signature was refused. The target is looked
// at first, as AWS does; the body is not, since it is a stranger's.
func (h *Handler) Refuse(w http.ResponseWriter, r *http.Request, e *sigv4.Error) {
	if h.answerPlain(w, r) {
		return
	}
	if _, ok := operations[target(r)]; !ok {
		h.refuse(w, r, unknownOperation(target(r)))
		return
	}
	h.refuse(w, r, &wireError{status: e.StatusOr(http.StatusBadRequest), space: coral, code: e.Code, message: e.Message})
}

// target returns the operation that a request names, one of streams with its prefix, "" when it names none of
// this API and version.
func target(r *http.Request) string {
	full := r.Header.Get("X-Amz-Target")
	if strings.HasPrefix(full, streamsPrefix) {
		return full
	}
	name, ok := strings.CutPrefix(full, targetPrefix)
	if !ok {
		return ""
	}
	return name
}

// answerPlain answers what is no API call: health checks and wrong methods or types.
func (h *Handler) answerPlain(w http.ResponseWriter, r *http.Request) bool {
	switch {
	case r.Method == http.MethodGet && r.Header.Get("X-Amz-Target") == "":
		plain(w, http.StatusOK, "text/plain", "healthy: dynamodb."+h.region+".amazonaws.com ")
	case r.Method != http.MethodPost || mediaType(r) == "":
		plain(w, http.StatusNotFound, "application/xml", "<UnknownOperationException/>\n")
	default:
		return false
	}
	return true
}

func plain(w http.ResponseWriter, status int, contentType, text string) {
	setHeaders(w, contentType, []byte(text))
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text)
}

// mediaType returns the request's content type when it is one of the two that
// DynamoDB takes, else "".
func mediaType(r *http.Request) string {
	if text := r.Header.Get("Content-Type"); text == "application/x-amz-json-1.0" {
		return text
	}
	name, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || name != "application/x-amz-json-1.0" && name != "application/json" {
		return ""
	}
	return name
}

// body returns the request's body; false when it has answered instead.
func (h *Handler) body(w http.ResponseWriter, r *http.Request) ([]byte, bool) {
	tooLarge := r.ContentLength > maxBody
	var body []byte
	var err error
	if !tooLarge {
		if r.ContentLength < 0 {
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		}
		body, err = awsapi.Body(r)
	}
	var over *http.MaxBytesError
	if tooLarge || errors.As(err, &over) {
		h.refuse(w, r, tooLargeABody())
		return nil, false
	}
	if err != nil {
		h.log.Debug("cannot read a request", "err", err)
		return nil, false // the client has gone
	}
	if r.Header.Get("Content-Encoding") == "gzip" {
		return h.unzip(w, r, body)
	}
	return body, true
}

// unzip unpacks a body that the client has compressed; false when it has
// answered instead.
func (h *Handler) unzip(w http.ResponseWriter, r *http.Request, packed []byte) ([]byte, bool) {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, true // no JSON: refused as such
	}
	body, err := io.ReadAll(io.LimitReader(z, maxBody+1))
	if len(body) > maxBody {
		h.refuse(w, r, tooLargeABody())
		return nil, false
	}
	if err != nil {
		return nil, true
	}
	return body, true
}

func tooLargeABody() error {
	return &wireError{status: http.StatusRequestEntityTooLarge, space: coral, code: "RequestEntityTooLargeException",
		message: fmt.Sprintf("the request is larger than %d bytes: send it in parts", maxBody)}
}

// Namespaces of error names.
const (
	service    = "com.amazonaws.dynamodb.v20120810#"
	validation = "com.amazon.coral.validate#"
	coral      = "com.amazon.coral.service#"
)

// wireError is an error in its wire form.
type wireError struct {
	status  int
	space   string
	code    string
	message string
	item    table.Item
	reasons []table.Reason // of TransactionCanceledException
}

func (e *wireError) Error() string { return e.code + ": " + e.message }

func serialization(message string) error {
	return &wireError{status: http.StatusBadRequest, space: coral, code: "SerializationException", message: message}
}

// unknownOperation tells apart what DynamoDB does not have, where AWS says
// nothing more, and what only mote does not have.
func unknownOperation(name string) error {
	e := &wireError{status: http.StatusBadRequest, space: coral, code: "UnknownOperationException"}
	if notOffered[name] {
		e.message = "mote does not offer " + name + " yet"
	}
	return e
}

// notOffered are operations of DynamoDB that are not here.
var notOffered = func() map[string]bool {
	names := map[string]bool{}
	for name := range strings.FieldsSeq(`RestoreTableToPointInTime CreateGlobalTable DescribeGlobalTable DescribeGlobalTableSettings
		UpdateGlobalTable UpdateGlobalTableSettings DescribeTableReplicaAutoScaling UpdateTableReplicaAutoScaling
		UpdateContributorInsights
		EnableKinesisStreamingDestination DisableKinesisStreamingDestination UpdateKinesisStreamingDestination
		ImportTable DescribeImport
		PutResourcePolicy DeleteResourcePolicy`) {
		names[name] = true
	}
	return names
}()

// wire maps an error of the engine or the store to its wire form.
func (h *Handler) wire(err error) *wireError {
	var own *wireError
	var refused *table.Error
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &refused) && refused.Code == table.CodeDamaged:
		h.log.Error("a call met damaged data", "api", "dynamodb", "err", err)
		return &wireError{status: http.StatusInternalServerError, space: service, code: refused.Code, message: refused.Message}
	case errors.As(err, &refused):
		space := service
		if refused.Code == table.CodeValidation {
			space = validation
		}
		return &wireError{http.StatusBadRequest, space, refused.Code, refused.Message, refused.Item, refused.Reasons}
	case errors.Is(err, store.ErrFull), errors.Is(err, store.ErrClosed):
		return &wireError{status: http.StatusServiceUnavailable, space: service, code: "ServiceUnavailable", message: err.Error()}
	}
	h.log.Error("a call failed", "api", "dynamodb", "err", err)
	return &wireError{status: http.StatusInternalServerError, space: service, code: "InternalServerError", message: "internal failure, see the server's log"}
}

func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	e := h.wire(err)
	out := appendString([]byte(`{"__type":`), e.space+e.code)
	if e.message != "" {
		key := `,"message":`
		if e.code == "SerializationException" || e.reasons != nil {
			key = `,"Message":`
		}
		out = appendString(append(out, key...), e.message)
	}
	if e.item != nil {
		out = appendItem(append(out, `,"Item":`...), e.item)
	}
	if e.reasons != nil {
		out = appendReasons(append(out, `,"CancellationReasons":`...), e.reasons)
	}
	respond(w, r, e.status, append(out, '}'))
}

func respond(w http.ResponseWriter, r *http.Request, status int, body []byte) {
	setHeaders(w, mediaType(r), body)
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// setHeaders sets what every answer has; clients compare the checksum.
func setHeaders(w http.ResponseWriter, contentType string, body []byte) {
	header := w.Header()
	header.Set("Content-Type", contentType)
	header.Set("Content-Length", strconv.Itoa(len(body)))
	header.Set("x-amzn-RequestId", newRequestID())
	header.Set("x-amz-crc32", strconv.FormatUint(uint64(crc32.ChecksumIEEE(body)), 10))
}

// newRequestID returns 52 random characters A–Z and 0–9.
func newRequestID() string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	id := make([]byte, 52)
	rand.Read(id)
	for i, c := range id {
		id[i] = alphabet[int(c)%len(alphabet)]
	}
	return string(id)
}
