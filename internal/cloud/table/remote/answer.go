package remote

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"mote/internal/cloud/table"
)

// UnavailableError says that the cluster did not perform a call for now, or that
// nobody knows whether it did. It may be asked again.
type UnavailableError struct {
	err      error
	noAnswer bool // it holds for every call
}

func (e *UnavailableError) Error() string { return e.err.Error() }

func (e *UnavailableError) Unwrap() error { return e.err }

// refusals are the codes that a second attempt would get again (Amazon DynamoDB
// Developer Guide, "Error handling with DynamoDB"). Others are the cluster's
// state (throttling, an update of the table) or that of the credentials, which
// somebody will mend: they do not condemn a write.
var refusals = []string{
	table.CodeValidation, table.CodeNotFound, table.CodeConditionCheck, table.CodeMismatch,
	"SerializationException", "ItemCollectionSizeLimitExceededException", "UnknownOperationException", "RequestEntityTooLargeException",
}

// ask performs an operation with a request that json.Marshal makes JSON of, and
// reads the answer into out, which may be nil. The error is a *[table.Error]
// for what the cluster refuses for good, or an [*UnavailableError].
func (c *Cluster) ask(ctx context.Context, operation string, request, out any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("%s: %w", operation, err)
	}
	a, err := c.Call(ctx, operation, body)
	if err != nil {
		return err
	}
	if a.Status != http.StatusOK {
		return c.refused(operation, a)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(a.Body, out); err != nil {
		return c.noAnswer(fmt.Errorf("its answer to %s is not of the DynamoDB API: %w", operation, err))
	}
	return nil
}

// refused is the error of an answer that is none of success.
func (c *Cluster) refused(operation string, a Answer) error {
	var e struct {
		Type    string `json:"__type"`
		Message string `json:"message"` // also as Message: names are compared without case
	}
	_ = json.Unmarshal(a.Body, &e) // without a type it is no answer of the API
	_, code, found := strings.Cut(e.Type, "#")
	if !found {
		code = e.Type
	}
	if a.Status/100 == 4 && slices.Contains(refusals, code) {
		return &table.Error{Code: code, Message: e.Message}
	}
	if code == "" {
		return &UnavailableError{fmt.Errorf("the tables' cluster %s answered %s with %d %s, which is not of the DynamoDB API", c.url, operation, a.Status, http.StatusText(a.Status)), false}
	}
	return &UnavailableError{fmt.Errorf("the tables' cluster %s answered %s: %s: %.300s", c.url, operation, code, e.Message), false}
}
