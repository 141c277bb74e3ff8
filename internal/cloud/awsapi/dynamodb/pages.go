package dynamodb

import (
	"strconv"

	"mote/internal/cloud/table"
)

// checkReading is what Query and Scan check alike.
func (in *input) checkReading(c *constraints, expressions ...expression) error {
	c.tableName(in.tableName, "tableName")
	c.enum(in.selects, "select", "SPECIFIC_ATTRIBUTES", "COUNT", "ALL_ATTRIBUTES", "ALL_PROJECTED_ATTRIBUTES")
	c.atLeast(in.limit, "limit", 1)
	c.atMost(in.limit, "limit", 1<<31-1)
	c.returns(in)
	if in.indexName != nil {
		c.length(*in.indexName, "indexName", 3, 255)
	}
	if err := c.err(); err != nil {
		return err
	}
	if err := in.checkParameters(expressions...); err != nil {
		return err
	}
	if in.startKey != nil && in.startKey.fault != nil {
		return refused("The provided starting key is invalid: " + messageOf(in.startKey.fault))
	}
	return in.checkSelect()
}

// checkSelect holds Select and the projection together.
func (in *input) checkSelect() error {
	switch {
	case in.selects == nil:
	case *in.selects == "ALL_PROJECTED_ATTRIBUTES" && in.indexName == nil:
		return refused("ALL_PROJECTED_ATTRIBUTES can be used only when Querying using an IndexName")
	case *in.selects == "SPECIFIC_ATTRIBUTES" && in.projection == nil:
		return refused("Must specify the AttributesToGet or ProjectionExpression when choosing to get SPECIFIC_ATTRIBUTES")
	case *in.selects != "SPECIFIC_ATTRIBUTES" && in.projection != nil:
		return refused("Cannot specify the ProjectionExpression when choosing to get " + *in.selects)
	}
	return nil
}

// noIndex refuses an index once the table is known to exist.
func (h *Handler) noIndex(in *input) error {
	if in.indexName == nil {
		return nil
	}
	if _, err := h.db.Describe(bareName(*in.tableName)); err != nil {
		return &table.Error{Code: table.CodeNotFound, Message: "Requested resource not found"}
	}
	return refused("The table does not have the specified index: " + *in.indexName)
}

func (in *input) reading() table.Reading {
	r := table.Reading{
		Table: bareName(*in.tableName), Filter: in.filter, Projection: in.projection, Names: in.names, Values: in.placeholderValues(),
		Consistent: isTrue(in.consistent), CountOnly: is(in.selects, "COUNT"),
	}
	if in.limit != nil {
		r.Limit = int(*in.limit)
	}
	if in.startKey != nil {
		r.StartKey = in.startKey.Item
	}
	return r
}

func (h *Handler) query(in *input) ([]byte, error) {
	var c constraints
	err := in.checkReading(&c, expression{"KeyConditionExpression", in.keyCondition}, expression{"FilterExpression", in.filter}, expression{"ProjectionExpression", in.projection})
	if err != nil {
		return nil, err
	}
	if in.keyCondition == nil {
		return nil, refused("Either the KeyConditions or KeyConditionExpression parameter must be specified in the request.")
	}
	if err := h.noIndex(in); err != nil {
		return nil, err
	}
	r := table.QueryRequest{Reading: in.reading(), KeyCondition: *in.keyCondition, Descending: in.forward != nil && !*in.forward}
	page, err := h.db.Query(r)
	if err != nil {
		return nil, err
	}
	return in.page(r.Table, &page), nil
}

func (h *Handler) scan(in *input) ([]byte, error) {
	var c constraints
	c.atLeast(in.segment, "segment", 0)
	c.atMost(in.segment, "segment", 999_999)
	c.atLeast(in.segments, "totalSegments", 1)
	c.atMost(in.segments, "totalSegments", 1_000_000)
	err := in.checkReading(&c, expression{"FilterExpression", in.filter}, expression{"ProjectionExpression", in.projection})
	if err != nil {
		return nil, err
	}
	r := table.ScanRequest{}
	if r.Segment, r.Segments, err = in.segmentOf(); err != nil {
		return nil, err
	}
	if err := h.noIndex(in); err != nil {
		return nil, err
	}
	r.Reading = in.reading()
	page, err := h.db.Scan(r)
	if err != nil {
		return nil, err
	}
	return in.page(r.Table, &page), nil
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

func (in *input) page(name string, p *table.Page) []byte {
	var a answer
	if !is(in.selects, "COUNT") {
		a.member("Items")
		a.out = appendList(a.out, p.Items, appendItem)
	}
	a.number("Count", p.Count)
	a.number("ScannedCount", p.Scanned)
	a.item("LastEvaluatedKey", p.LastKey)
	a.capacity(in, name, p.Units)
	return a.done()
}
