package dynamodb

import (
	"strconv"
	"strings"

	"mote/internal/cloud/table"
)

// selection checks the member Select.
func (c *constraints) selection(in *input) {
	c.enum(in.selects, "select", "SPECIFIC_ATTRIBUTES", "COUNT", "ALL_ATTRIBUTES", "ALL_PROJECTED_ATTRIBUTES")
}

func (c *constraints) indexName(in *input) {
	if in.indexName != nil {
		c.name(*in.indexName, "indexName")
	}
}

func (c *constraints) limit(in *input) {
	c.atLeast(in.limit, "limit", 1)
	c.atMost(in.limit, "limit", 1<<31-1)
}

// checkStartKey refuses a start key of which a value is none. AWS opens most
// of these texts, but not those on numbers and duplicates, with its own words.
func (in *input) checkStartKey() error {
	if in.startKey == nil || in.startKey.fault == nil {
		return nil
	}
	text := messageOf(in.startKey.fault)
	for _, bare := range []string{"contains duplicates", "number set", "numeric value", "significant digits", "number with magnitude"} {
		if strings.Contains(text, bare) {
			return refused(text)
		}
	}
	return refused("The provided starting key is invalid: " + text)
}

// checkSelect holds Select and the projection together. Query tells what is wrong
// as it does of a member by itself, Scan does not.
func (in *input) checkSelect() error {
	text := in.selectFault()
	switch {
	case text == "":
		return nil
	case in.op == "Query":
		text = "1 validation error detected: " + text
	}
	return refused(text)
}

func (in *input) selectFault() string {
	projection := "ProjectionExpression"
	if in.attributesToGet != nil {
		projection = "AttributesToGet"
	}
	projects := in.projection != nil || in.attributesToGet != nil
	const only = " when choosing to get "
	switch {
	case in.selects == nil:
	case *in.selects == "ALL_PROJECTED_ATTRIBUTES" && in.indexName == nil:
		return "ALL_PROJECTED_ATTRIBUTES can be used only when Querying using an IndexName"
	case *in.selects == "SPECIFIC_ATTRIBUTES" && !projects:
		return "Must specify the AttributesToGet or ProjectionExpression" + only + "SPECIFIC_ATTRIBUTES"
	case *in.selects == "COUNT" && projects:
		return "Cannot specify the " + projection + only + "only the Count"
	case *in.selects != "SPECIFIC_ATTRIBUTES" && projects:
		return "Cannot specify the " + projection + only + *in.selects
	}
	return ""
}

// reading returns what Query and Scan have in common, checked.
func (in *input) reading(filter []condition) (r table.Reading, err error) {
	r = table.Reading{
		Table: bareName(*in.tableName), Filter: in.filter, Projection: in.projection, Names: in.names, Values: in.placeholderValues(),
		Consistent: isTrue(in.consistent), CountOnly: is(in.selects, "COUNT"),
		Attributes: in.attributesToGet, AnyOf: is(in.conditionalOperator, "OR"),
		AllAttributes: is(in.selects, "ALL_ATTRIBUTES"),
	}
	if in.indexName != nil {
		r.Index = *in.indexName
	}
	if in.limit != nil {
		r.Limit = int(*in.limit)
	}
	if in.startKey != nil {
		r.StartKey = in.startKey.Item
	}
	if r.Conditions, err = engineConditions(filter); err != nil {
		return r, err
	}
	if err := table.CheckAttributes(in.attributesToGet); err != nil {
		return r, err
	}
	return r, in.checkStartKey()
}

func (h *Handler) query(in *input) ([]byte, error) {
	if err := in.checkTable(); err != nil {
		return nil, err
	}
	var c constraints
	c.selection(in)
	c.indexName(in)
	c.capacity(in)
	c.conditions(in.queryFilter, "queryFilter", true)
	c.tableName(in.tableName, "tableName")
	c.conditionalOperator(in)
	c.attributesToGet(in.attributesToGet, "attributesToGet")
	if in.limit != nil && *in.limit < 1 {
		c.addBare("Limit", "have value greater than or equal to 1")
	} else {
		c.limit(in)
	}
	c.conditions(in.keyConditions, "keyConditions", true)
	if err := c.err(); err != nil {
		return nil, err
	}
	r, err := in.queryRequest()
	if err != nil {
		return nil, err
	}
	var a answer
	r.Each = a.items(in)
	page, err := h.db.Query(r)
	if err != nil {
		return nil, err
	}
	return a.page(in, r.Table, &page), nil
}

func (in *input) queryRequest() (r table.QueryRequest, err error) {
	expressions := []parameter{expression("ProjectionExpression", in.projection), expression("FilterExpression", in.filter), expression("KeyConditionExpression", in.keyCondition)}
	legacy := []parameter{
		{"AttributesToGet", in.attributesToGet != nil}, {"QueryFilter", in.queryFilter != nil}, {"ConditionalOperator", in.conditionalOperator != nil},
		{"KeyConditions", in.keyConditions != nil && in.keyCondition != nil}, // alone it goes with the other expressions
	}
	if err := in.checkStyle(expressions, legacy); err != nil {
		return r, err
	}
	if r.Reading, err = in.reading(in.queryFilter); err != nil {
		return r, err
	}
	r.Descending = in.forward != nil && !*in.forward
	if in.keyConditions == nil && in.keyCondition == nil {
		return r, refused("Either the KeyConditions or KeyConditionExpression parameter must be specified in the request.")
	}
	if err := in.checkPlaceholders(); err != nil {
		return r, err
	}
	if in.keyCondition != nil {
		r.KeyCondition = *in.keyCondition
	} else if r.KeyConditions, err = engineConditions(in.keyConditions); err != nil {
		return r, err
	}
	return r, in.checkSelect()
}

func (h *Handler) scan(in *input) ([]byte, error) {
	var c constraints
	c.selection(in)
	c.indexName(in)
	c.atLeast(in.segments, "totalSegments", 1)
	c.atMost(in.segments, "totalSegments", 1_000_000)
	c.capacity(in)
	c.tableName(in.tableName, "tableName")
	c.conditionalOperator(in)
	c.conditions(in.scanFilter, "scanFilter", true)
	c.atLeast(in.segment, "segment", 0)
	c.atMost(in.segment, "segment", 999_999)
	c.limit(in)
	c.attributesToGet(in.attributesToGet, "attributesToGet")
	if err := c.err(); err != nil {
		return nil, err
	}
	r, err := in.scanRequest()
	if err != nil {
		return nil, err
	}
	var a answer
	r.Each = a.items(in)
	page, err := h.db.Scan(r)
	if err != nil {
		return nil, err
	}
	return a.page(in, r.Table, &page), nil
}

func (in *input) scanRequest() (r table.ScanRequest, err error) {
	expressions := []parameter{expression("ProjectionExpression", in.projection), expression("FilterExpression", in.filter)}
	legacy := []parameter{{"AttributesToGet", in.attributesToGet != nil}, {"ScanFilter", in.scanFilter != nil}, {"ConditionalOperator", in.conditionalOperator != nil}}
	if err := in.checkStyle(expressions, legacy); err != nil {
		return r, err
	}
	if r.Reading, err = in.reading(in.scanFilter); err != nil {
		return r, err
	}
	if r.Segment, r.Segments, err = in.segmentOf(); err != nil {
		return r, err
	}
	if err := in.checkPlaceholders(); err != nil {
		return r, err
	}
	return r, in.checkSelect()
}

// segmentOf returns which part of a parallel scan is asked for.
func (in *input) segmentOf() (segment, segments int, err error) {
	switch {
	case in.segment == nil && in.segments == nil:
		return 0, 0, nil
	case in.segments == nil:
		return 0, 0, refused("The TotalSegments parameter is required but was not present in the request when Segment parameter is present")
	case in.segment == nil:
		return 0, 0, refused("The Segment parameter is required but was not present in the request when parameter TotalSegments is present")
	case *in.segment >= *in.segments:
		return 0, 0, refused("The Segment parameter is zero-based and must be less than parameter TotalSegments: Segment: " +
			strconv.FormatInt(*in.segment, 10) + " is not less than TotalSegments: " + strconv.FormatInt(*in.segments, 10))
	}
	return int(*in.segment), int(*in.segments), nil
}

// items begins the member Items, and returns what appends each item to it.
func (a *answer) items(in *input) func([]table.Member) {
	if is(in.selects, "COUNT") {
		return nil
	}
	a.member("Items")
	a.out = append(a.out, '[')
	first := true
	return func(members []table.Member) {
		if !first {
			a.out = append(a.out, ',')
		}
		first = false
		a.out = appendMembers(a.out, members)
	}
}

// page is the answer whose items were appended already.
func (a *answer) page(in *input, name string, p *table.Page) []byte {
	if !is(in.selects, "COUNT") {
		a.out = append(a.out, ']')
	}
	a.number("Count", p.Count)
	a.number("ScannedCount", p.Scanned)
	a.item("LastEvaluatedKey", p.LastKey)
	a.capacity(in, name, p.Units, indexUnits(p)...)
	return a.done()
}

// indexUnits are the units of the index that a page was read of, if any.
func indexUnits(p *table.Page) []table.IndexUnits {
	if p.Index == nil {
		return nil
	}
	return []table.IndexUnits{*p.Index}
}
