package dynamodb

import (
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"mote/internal/cloud/table"
)

var (
	anyArn   = regexp.MustCompile(`^.+:.+:.+:.+:.+:.+/.+$`)
	tableArn = regexp.MustCompile(`^arn:aws[a-z-]*:dynamodb:.+:\d+:table/[^/]{3,}$`)
)

// checkArn refuses a ResourceArn that can be none of a table, in the order of
// AWS: list is nil when the operation's list is missing.
func (in *input) checkArn(listGiven bool, list string) error {
	switch {
	case in.resourceArn == nil:
		return refused("Invalid TableArn")
	case !anyArn.MatchString(*in.resourceArn) && !strings.HasPrefix(*in.resourceArn, "arn:"):
		return refused("ARNs must start with 'arn:': " + quoteless(*in.resourceArn))
	case !anyArn.MatchString(*in.resourceArn):
		return in.notAuthorized()
	case !listGiven:
		var c constraints
		c.required(false, list)
		return c.err()
	case !tableArn.MatchString(*in.resourceArn):
		return refused("Invalid TableArn: Invalid ResourceArn provided as input " + quoteless(*in.resourceArn))
	}
	return nil
}

func (in *input) notAuthorized() error {
	return &wireError{status: http.StatusBadRequest, space: coral, code: "AccessDeniedException",
		message: "User is not authorized to perform: dynamodb:" + in.op + " on resource: " + quoteless(*in.resourceArn)}
}

// tagged returns the name of the table that ResourceArn names, refusing it with
// text when there is none.
func (h *Handler) tagged(in *input, text string) (*table.Table, error) {
	if own := h.db.ARN(""); !strings.HasPrefix(*in.resourceArn, own) {
		return nil, in.notAuthorized() // of another account or region
	}
	t, err := h.db.Describe(bareName(*in.resourceArn))
	if err != nil || t.ARN != *in.resourceArn {
		return nil, &table.Error{Code: table.CodeNotFound, Message: text}
	}
	return t, nil
}

func (in *input) arnNotFound() string {
	return "Requested resource not found: ResourcArn: " + quoteless(*in.resourceArn) + " not found"
}

func (h *Handler) tagResource(in *input) ([]byte, error) {
	if err := in.checkArn(in.tags != nil, "tags"); err != nil {
		return nil, err
	}
	if len(in.tags) == 0 {
		return nil, refused("Atleast one Tag needs to be provided as Input.")
	}
	if err := checkTagMembers(in.tags); err != nil {
		return nil, err
	}
	t, err := h.tagged(in, in.arnNotFound())
	if err != nil {
		return nil, err
	}
	return nil, h.db.SetTags(t.Name, in.tags)
}

// checkTagMembers refuses tags without a key or a value, or with what neither
// has (Amazon DynamoDB Developer Guide, "Tagging restrictions in DynamoDB").
func checkTagMembers(tags []table.Tag) error {
	for _, t := range tags {
		switch absent {
		case t.Key:
			return refused("The Tag Key provided is invalid, Key: null")
		case t.Value:
			return refused("The Tag Value provided is invalid, Value: null")
		}
		if strings.ContainsFunc(t.Key, notOfTag) {
			return refused("The Tag Key provided is invalid, Key: " + quoteless(t.Key))
		}
		if strings.ContainsFunc(t.Value, notOfTag) {
			return refused("The Tag Value provided is invalid, Value: " + quoteless(t.Value))
		}
	}
	return nil
}

func notOfTag(r rune) bool {
	return !unicode.IsLetter(r) && !unicode.IsNumber(r) && !unicode.In(r, unicode.Z) && !strings.ContainsRune("+-=._:/@", r)
}

func (h *Handler) untagResource(in *input) ([]byte, error) {
	if err := in.checkArn(in.tagKeys != nil, "tagKeys"); err != nil {
		return nil, err
	}
	if len(in.tagKeys) == 0 {
		return nil, refused("Atleast one Tag Key needs to be provided as Input.")
	}
	if slices.Contains(in.tagKeys, "") {
		return nil, refused("The Tag Key provided is invalid, Key: ")
	}
	t, err := h.tagged(in, "Requested resource not found")
	if err != nil {
		return nil, err
	}
	return nil, h.db.RemoveTags(t.Name, in.tagKeys)
}

func (h *Handler) listTags(in *input) ([]byte, error) {
	if err := in.checkArn(true, ""); err != nil {
		return nil, err
	}
	t, err := h.tagged(in, in.arnNotFound())
	if err != nil {
		return nil, err
	}
	tags := t.Tags
	if tags == nil {
		tags = []table.Tag{}
	}
	return json.Marshal(map[string]any{"Tags": tags})
}

// describeEndpoints answers the host that the client came to: there is one.
func (h *Handler) describeEndpoints(in *input) ([]byte, error) {
	return json.Marshal(map[string]any{"Endpoints": []any{map[string]any{"Address": in.host, "CachePeriodInMinutes": 1440}}})
}

// describeLimits answers AWS's default quotas (DynamoDB developer guide,
// "Service, account, and table quotas"). Nothing here holds a table to them.
func (h *Handler) describeLimits(*input) ([]byte, error) {
	return []byte(`{"AccountMaxReadCapacityUnits":80000,"AccountMaxWriteCapacityUnits":80000,"TableMaxReadCapacityUnits":40000,"TableMaxWriteCapacityUnits":40000}`), nil
}

// continuousBackups describes what mote has of them: none to a point in time.
const continuousBackups = `{"ContinuousBackupsDescription":{"ContinuousBackupsStatus":"ENABLED","PointInTimeRecoveryDescription":{"PointInTimeRecoveryStatus":"DISABLED"}}}`

func (h *Handler) describeContinuousBackups(in *input) ([]byte, error) {
	name, err := in.checkTableName()
	if err != nil {
		return nil, err
	}
	return []byte(continuousBackups), h.tableFound(name)
}

// updateContinuousBackups takes the wish for no recovery to a point in time,
// which is what there is, and refuses the other.
func (h *Handler) updateContinuousBackups(in *input) ([]byte, error) {
	var c constraints
	c.tableName(in.tableName, "tableName")
	c.required(in.recoveryGiven, "pointInTimeRecoverySpecification")
	if in.recoveryGiven {
		c.required(in.recovery != nil, "pointInTimeRecoverySpecification.pointInTimeRecoveryEnabled")
	}
	if err := c.err(); err != nil {
		return nil, err
	}
	if err := h.tableFound(bareName(*in.tableName)); err != nil {
		return nil, err
	}
	if *in.recovery {
		return nil, refused("mote does not offer recovery to a point in time: leave it disabled, and make backups")
	}
	return []byte(continuousBackups), nil
}

// tableFound words a missing table as the operations on backups do.
func (h *Handler) tableFound(name string) error {
	_, err := h.db.Describe(name)
	var missing *table.Error
	if errors.As(err, &missing) {
		return &table.Error{Code: "TableNotFoundException", Message: "Table not found: " + name}
	}
	return err
}

// takeRecovery takes PointInTimeRecoverySpecification.
func (s *scanner) takeRecovery(in *input) {
	in.recoveryGiven = true
	s.object(unexpectedField, structureOf("PointInTimeRecoverySpecification"), func(member string) {
		if member == "PointInTimeRecoveryEnabled" {
			in.recovery = s.boolean()
			return
		}
		s.skip()
	})
}
