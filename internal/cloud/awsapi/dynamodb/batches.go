package dynamodb

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"

	"mote/internal/cloud/table"
)

const (
	notRequestMap = "Unrecognized collection type java.util.Map<java.lang.String, java.util.List<com.amazonaws.dynamodb.v20120810.WriteRequest>>"
	notKeysMap    = "Unrecognized collection type java.util.Map<java.lang.String, com.amazonaws.dynamodb.v20120810.KeysAndAttributes>"
)

// writeRequest is one element of BatchWriteItem's lists.
type writeRequest struct {
	table     string
	at        string // how errors call its place
	put, drop *item  // PutRequest's Item, DeleteRequest's Key
	missing   string // of the one that is given: its member that is not
	count     int    // of the two that are given
}

func (w *writeRequest) checkMembers(c *constraints) {
	if w.missing != "" {
		c.required(false, w.at+w.missing)
	}
}

func (s *scanner) writeRequests() (list []writeRequest, lengths map[string]int) {
	lengths = map[string]int{}
	s.object(unexpectedField, notRequestMap, func(name string) {
		before := len(list)
		s.listOr(unexpectedParam, func() { list = append(list, s.writeRequest(name, len(list)-before+1)) })
		lengths[name] = len(list) - before
	})
	return list, lengths
}

func (s *scanner) writeRequest(name string, number int) writeRequest {
	w := writeRequest{table: bareName(name), at: "requestItems." + name + ".member." + strconv.Itoa(number) + ".member."}
	s.object(unexpectedValue, structureOf("WriteRequest"), func(member string) {
		switch {
		case s.null():
		case member == "PutRequest":
			w.count++
			if w.put = s.itemIn("Item", "PutRequest"); w.put == nil {
				w.missing = "putRequest.item"
			}
		case member == "DeleteRequest":
			w.count++
			if w.drop = s.itemIn("Key", "DeleteRequest"); w.drop == nil {
				w.missing = "deleteRequest.key"
			}
		default:
			s.skip()
		}
	})
	return w
}

// itemIn takes the item that is the only member of a structure.
func (s *scanner) itemIn(member, structure string) (it *item) {
	s.object(unexpectedField, structureOf(structure), func(name string) {
		if name == member {
			it = s.item(maxNesting)
			return
		}
		s.skip()
	})
	return it
}

func (h *Handler) batchWriteItem(in *input) ([]byte, error) {
	var c constraints
	c.capacity(in)
	c.metrics(in)
	c.required(in.requestItems != nil, "requestItems")
	if err := c.err(); err != nil {
		return nil, err
	}
	s := &scanner{data: in.requestItems}
	list, lengths := s.writeRequests()
	if s.err != nil {
		return nil, s.err
	}
	if err := checkWrites(list, lengths, in.requestItems); err != nil {
		return nil, err
	}
	writes := make([]table.BatchWrite, len(list))
	written := make([]touched, len(list))
	for i, w := range list {
		writes[i].Table = w.table
		if w.put != nil {
			writes[i].Item = w.put.Item
			written[i] = touched{w.table, w.put.Item}
		} else {
			writes[i].Key = w.drop.Item
			written[i] = touched{w.table, w.drop.Item}
		}
	}
	costs, err := h.db.WriteBatch(writes, in.wantsCapacity())
	if err != nil {
		return nil, err
	}
	var a answer
	a.member("UnprocessedItems")
	a.out = append(a.out, "{}"...)
	a.capacities(in, "", costs)
	err = h.collectionsMetrics(&a, in, written)
	return a.done(), err
}

// compact is a JSON text as errors show it, its middle left out before it is
// made when it is long.
func compact(raw []byte) string {
	if most := 64 << 10; len(raw) > most {
		return string(raw[:most]) + string(raw[len(raw)-1])
	}
	var b bytes.Buffer
	_ = json.Compact(&b, raw) // it is valid
	return b.String()
}

// maxWrites is BatchWriteItem's limit, for all tables together.
const maxWrites = 25

// checkWrites checks the requests by themselves; raw is how they came.
func checkWrites(list []writeRequest, lengths map[string]int, raw []byte) error {
	var c constraints
	if len(lengths) == 0 {
		return refused("The requestItems parameter is required for BatchWriteItem")
	}
	names := slices.Sorted(maps.Keys(lengths))
	c.mapKeys(raw, names, "requestItems")
	for _, name := range names {
		if n := lengths[name]; n < 1 || n > maxWrites {
			c.addText("'"+dumpTables(raw, names)+"'", "requestItems", "Map value must satisfy constraint: [Member must have length less than or equal to 25, Member must have length greater than or equal to 1]")
		}
	}
	for i := range list {
		list[i].checkMembers(&c)
	}
	if err := c.err(); err != nil {
		return err
	}
	if len(list) > maxWrites {
		return refused("Too many items requested for the BatchWriteItem call")
	}
	for _, w := range list {
		it := w.put
		if it == nil {
			it = w.drop
		}
		switch {
		case w.count != 1 || it == nil:
			return refused("Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes")
		case it.fault != nil:
			return it.fault
		}
	}
	return nil
}

// keysRequest is the KeysAndAttributes of one table.
type keysRequest struct {
	name       string // as written
	keys       []*item
	projection *string
	names      map[string]string
	consistent *bool
	attributes []string          // AttributesToGet
	raw        map[string][]byte // members as they came, for the answer to repeat
}

func (s *scanner) keysRequests() (list []keysRequest) {
	s.object(unexpectedField, notKeysMap, func(name string) {
		g := keysRequest{name: name, raw: map[string][]byte{}}
		s.object(unexpectedValue, structureOf("KeysAndAttributes"), func(member string) { s.keysMember(&g, member) })
		list = append(list, g)
	})
	return list
}

func (s *scanner) keysMember(g *keysRequest, member string) {
	if s.null() {
		return
	}
	s.peek()
	start := s.pos
	switch member {
	case "Keys":
		g.keys = []*item{}
		s.list(func() { g.keys = append(g.keys, s.itemOr(unexpectedParam, maxNesting)) })
	case "ProjectionExpression":
		g.projection = s.text()
	case "ConsistentRead":
		g.consistent = s.boolean()
	case "ExpressionAttributeNames":
		g.names = s.stringMap()
	case "AttributesToGet":
		g.attributes = s.texts()
	default:
		s.skip()
		return
	}
	g.raw[member] = s.data[start:min(s.pos, len(s.data))]
}

// maxKeys is BatchGetItem's limit.
const maxKeys = 100

func (h *Handler) batchGetItem(in *input) ([]byte, error) {
	var c constraints
	c.capacity(in)
	c.required(in.requestItems != nil, "requestItems")
	if err := c.err(); err != nil {
		return nil, err
	}
	s := &scanner{data: in.requestItems}
	list := s.keysRequests()
	if s.err != nil {
		return nil, s.err
	}
	gets, err := checkGets(list, in.requestItems)
	if err != nil {
		return nil, err
	}
	r, err := h.db.GetBatch(gets)
	if err != nil {
		return nil, err
	}
	var a answer
	a.member("Responses")
	a.out = appendObject(a.out, r.Items, func(out []byte, _ string, items []table.Item) []byte { return appendList(out, items, appendItem) })
	a.member("UnprocessedKeys")
	a.out = appendObject(a.out, r.Left, func(out []byte, name string, keys []table.Item) []byte { return appendLeft(out, list, name, keys) })
	a.capacities(in, "", r.Units)
	return a.done(), nil
}

func checkGets(list []keysRequest, raw []byte) ([]table.BatchGet, error) {
	var c constraints
	if len(list) == 0 {
		return nil, refused("The requestItems parameter is required for BatchGetItem")
	}
	for _, g := range list {
		c.mapKeys(raw, []string{g.name}, "requestItems")
		if g.keys == nil {
			c.required(false, "requestItems."+g.name+".member.keys")
		} else if len(g.keys) == 0 {
			c.add("'[]'", "requestItems."+g.name+".member.keys", "have length greater than or equal to 1")
		} else if len(g.keys) > maxKeys {
			c.addBare("RequestItems."+g.name+".member.Keys", "have length less than or equal to "+strconv.Itoa(maxKeys))
		}
		c.attributesToGet(g.attributes, "requestItems."+g.name+".member.attributesToGet")
	}
	if err := c.err(); err != nil {
		return nil, err
	}
	gets := make([]table.BatchGet, 0, len(list))
	for _, g := range list {
		get, err := g.get()
		if err != nil {
			return nil, err
		}
		gets = append(gets, get)
	}
	return gets, oneStyle(list)
}

// oneStyle refuses projections of both styles for different tables.
func oneStyle(list []keysRequest) error {
	var expressions, attributes bool
	for _, g := range list {
		expressions = expressions || g.projection != nil
		attributes = attributes || g.attributes != nil
	}
	return (&input{}).checkStyle([]parameter{{"ProjectionExpression", expressions}}, []parameter{{"AttributesToGet", attributes}})
}

func (g *keysRequest) get() (table.BatchGet, error) {
	get := table.BatchGet{Table: bareName(g.name), Projection: g.projection, Names: g.names, Attributes: g.attributes, Consistent: isTrue(g.consistent)}
	in := input{projection: g.projection, names: g.names}
	if err := in.checkStyle([]parameter{expression("ProjectionExpression", g.projection)}, []parameter{{"AttributesToGet", g.attributes != nil}}); err != nil {
		return get, err
	}
	if err := table.CheckAttributes(g.attributes); err != nil {
		return get, err
	}
	if err := in.checkPlaceholders(); err != nil {
		return get, err
	}
	for _, key := range g.keys {
		if key == nil {
			return get, errNoType
		}
		if key.fault != nil {
			return get, key.fault
		}
		get.Keys = append(get.Keys, key.Item)
	}
	return get, nil
}

// appendLeft appends the KeysAndAttributes that a client sends again.
func appendLeft(out []byte, list []keysRequest, name string, keys []table.Item) []byte {
	out = appendList(append(out, `{"Keys":`...), keys, appendItem)
	for _, g := range list {
		if bareName(g.name) != name {
			continue
		}
		for _, member := range slices.Sorted(maps.Keys(g.raw)) {
			if member == "Keys" {
				continue // those that are left are there
			}
			out = append(appendString(append(out, ','), member), ':')
			out = append(out, g.raw[member]...)
		}
	}
	return append(out, '}')
}

func appendObject[V any](out []byte, m map[string]V, one func([]byte, string, V) []byte) []byte {
	out = append(out, '{')
	for i, name := range slices.Sorted(maps.Keys(m)) {
		if i > 0 {
			out = append(out, ',')
		}
		out = one(append(appendString(out, name), ':'), name, m[name])
	}
	return append(out, '}')
}
