package table

import (
	"encoding/binary"
	"slices"
	"strings"

	"mote/internal/cloud/store"
)

// Limits of indexes (DynamoDB developer guide, "Quotas": secondary indexes).
const (
	maxLocal       = 5
	maxGlobal      = 20
	maxNonKey      = 20  // NonKeyAttributes of one index
	maxNonKeyTotal = 100 // and of all indexes of a table
)

// What an index holds of an item, besides the keys.
const (
	ProjectAll  = "ALL"
	ProjectKeys = "KEYS_ONLY"
	ProjectSome = "INCLUDE"
)

// IndexStatus says what an index is good for.
type IndexStatus string

// A new index of a table that has items is CREATING until every item that
// belongs into it is there; one that goes is DELETING until it is gone. Only an
// active index can be read.
const (
	IndexCreating IndexStatus = "CREATING"
	IndexActive   IndexStatus = "ACTIVE"
	IndexDeleting IndexStatus = "DELETING"
)

// Index is a secondary index of a table: a second order of those of its items
// that have the attributes of the index's key. It does not change once it is
// made.
type Index struct {
	Name        string
	Global      bool
	Hash, Range *KeyAttr // Range nil: no sort key
	Projection  string   // ProjectAll, ProjectKeys or ProjectSome
	Include     []string // with ProjectSome: attributes besides the keys
	Read, Write int64    // provisioned capacity units: kept, never enforced
	Ceiling     Ceiling
	Status      IndexStatus

	entries *Table // the entries as items of a table with the key of the index, and behind it that of the table
}

// indexRecord is an index in the catalogue (FORMAT.md).
type indexRecord struct {
	ID         uint16      `json:"id"`
	Name       string      `json:"name"`
	Global     bool        `json:"global,omitempty"`
	Hash       *KeyAttr    `json:"hash"`
	Range      *KeyAttr    `json:"range,omitempty"`
	Projection string      `json:"projection"`
	Include    []string    `json:"include,omitempty"`
	Read       int64       `json:"read,omitempty"`
	Write      int64       `json:"write,omitempty"`
	Status     IndexStatus `json:"status"`
	Ceiling    Ceiling     `json:"ceiling,omitzero"` // an older mote passes over it
}

func (x *Index) record() indexRecord {
	return indexRecord{x.entries.index, x.Name, x.Global, x.Hash, x.Range, x.Projection, x.Include, x.Read, x.Write, x.Status, x.Ceiling}
}

// index returns the index of t that the record describes.
func (r *indexRecord) index(t *Table) *Index {
	return &Index{
		Name: r.Name, Global: r.Global, Hash: r.Hash, Range: r.Range, Projection: r.Projection, Include: r.Include,
		Read: r.Read, Write: r.Write, Status: r.Status, Ceiling: r.Ceiling,
		entries: &Table{Name: t.Name, Hash: *r.Hash, Range: r.Range, id: t.id, index: r.ID, tail: t.keys()},
	}
}

// IndexNamed returns the index with a name, nil when there is none.
func (t *Table) IndexNamed(name string) *Index {
	i := slices.IndexFunc(t.Indexes, func(x *Index) bool { return x.Name == name })
	if i < 0 {
		return nil
	}
	return t.Indexes[i]
}

// ARNOf returns the ARN of an index of the table.
func (t *Table) ARNOf(x *Index) string { return t.ARN + "/index/" + x.Name }

// Attributes are the definitions of all attributes in the keys of the table
// and of its indexes, each once.
func (t *Table) Attributes() []KeyAttr {
	all := t.keys()
	for _, x := range t.Indexes {
		for _, k := range x.keys() {
			if !slices.Contains(all, k) {
				all = append(all, k)
			}
		}
	}
	return all
}

// keys are the attributes of the index's key, hash first.
func (x *Index) keys() []KeyAttr { return x.entries.keys() }

// Projects says whether the index holds an attribute.
func (x *Index) Projects(name string) bool {
	return x.Projection == ProjectAll || x.entries.isKey(name) || x.Projection == ProjectSome && slices.Contains(x.Include, name)
}

// Keys of the space of indexes: table, index, slot, keys. What lies under index
// 0 is the engine's own: how far a build is.
func appendTableEntries(dst []byte, table uint32) []byte {
	return binary.BigEndian.AppendUint32(append(dst, byte(store.SpaceIndex)), table)
}

func appendIndexPrefix(dst []byte, table uint32, index uint16) []byte {
	return binary.BigEndian.AppendUint16(appendTableEntries(dst, table), index)
}

// IndexRequest asks for one index, in CreateTable or UpdateTable.
type IndexRequest struct {
	Name         string
	Global       bool
	Schema       []KeyElement
	Projection   string   // "": none was given
	Include      []string // NonKeyAttributes; nil: none were given
	Read, Write  int64    // of a global one with provisioned capacity
	HasProvision bool     // Read and Write were given
	Ceiling      Ceiling  // of a global one without
}

// checkIndexes holds the indexes of a new table to DynamoDB's rules.
func (r *CreateRequest) checkIndexes() error {
	if r.Local != nil && len(r.Local) == 0 {
		return invalidParam("List of LocalSecondaryIndexes is empty")
	}
	if r.Global != nil && len(r.Global) == 0 {
		return invalidParam("List of GlobalSecondaryIndexes is empty")
	}
	seen, total := map[string]bool{}, 0
	for _, x := range r.indexes() {
		if err := r.checkIndex(&x); err != nil {
			return err
		}
		if seen[x.Name] {
			return invalidParam("Duplicate index name: %s", x.Name)
		}
		seen[x.Name] = true
		total += len(x.Include)
	}
	switch {
	case len(r.Local) > maxLocal:
		return invalidParam("Number of LocalSecondaryIndexes exceeds per-table limit of %d", maxLocal)
	case len(r.Global) > maxGlobal:
		return invalidParam("GlobalSecondaryIndex count exceeds the per-table limit of %d", maxGlobal)
	}
	return checkNonKeyTotal(total)
}

func checkNonKeyTotal(total int) error {
	if total > maxNonKeyTotal {
		return invalidParam("NonKeyAttributes of all indexes of a table are at most %d, not %d", maxNonKeyTotal, total)
	}
	return nil
}

func (r *CreateRequest) indexes() []IndexRequest { return slices.Concat(r.Local, r.Global) }

// checkIndex checks one index against the table and its definitions.
func (r *CreateRequest) checkIndex(x *IndexRequest) error {
	if err := CheckName(x.Name); err != nil {
		return err
	}
	if err := r.checkDefined(x.Schema); err != nil {
		return err
	}
	if !x.Global && len(r.Schema) < 2 {
		return invalidParam("Table KeySchema does not have a range key, which is required when specifying a LocalSecondaryIndex")
	}
	if err := checkElements(x.Schema); err != nil {
		return err
	}
	if !x.Global {
		if err := x.checkLocal(r.Schema[0].Name); err != nil {
			return err
		}
	}
	if err := x.checkProjection(); err != nil {
		return err
	}
	return x.checkCapacity(r.Billing, r.exists)
}

// checkDefined refuses a key of an index with an attribute that is not defined.
func (r *CreateRequest) checkDefined(schema []KeyElement) error {
	for _, k := range schema {
		if d := r.definition(k.Name); d == nil || d.Kind < S || d.Kind > B {
			return invalidParam("Some index key attributes are not defined in AttributeDefinitions. Keys: [%s], AttributeDefinitions: [%s]", elementNames(schema), r.definedNames())
		}
	}
	return nil
}

func (x *IndexRequest) checkLocal(tableHash string) error {
	if len(x.Schema) < 2 {
		return invalidParam("Index KeySchema does not have a range key for index: %s", x.Name)
	}
	if hash := x.Schema[0].Name; hash != tableHash {
		return invalidParam("Index KeySchema does not have the same leading hash key as table KeySchema for index: %s. index hash key: %s, table hash key: %s", x.Name, hash, tableHash)
	}
	return nil
}

func (x *IndexRequest) checkProjection() error {
	switch {
	case x.Projection == "":
		return invalidParam("Unknown ProjectionType: null")
	case x.Projection != ProjectSome && x.Include != nil:
		return invalidParam("ProjectionType is %s, but NonKeyAttributes is specified", x.Projection)
	case x.Projection == ProjectSome && x.Include == nil:
		return invalidParam("ProjectionType is INCLUDE, but NonKeyAttributes is not specified")
	case len(x.Include) > maxNonKey:
		return invalidParam("NonKeyAttributes of one index are at most %d, not %d", maxNonKey, len(x.Include))
	}
	for i, name := range x.Include {
		if slices.Contains(x.Include[:i], name) {
			return invalidParam("Duplicate attribute name in NonKeyAttributes of index %s: %s", x.Name, name)
		}
	}
	return nil
}

func (x *IndexRequest) checkCapacity(billing string, tableExists bool) error {
	switch {
	case !x.Global:
	case billing == PayPerRequest && x.HasProvision:
		return invalidParam("ProvisionedThroughput should not be specified for index: %s when BillingMode is PAY_PER_REQUEST", x.Name)
	case billing == Provisioned && !x.HasProvision && tableExists:
		return invalidParam("ProvisionedThroughput must be specified for index: %s", x.Name)
	case billing == Provisioned && !x.HasProvision:
		return invalidParam("ProvisionedThroughput is not specified for index: %s", x.Name)
	}
	return x.Ceiling.checkIndex(x.Name, billing)
}

// checkElements holds a KeySchema to its form.
func checkElements(schema []KeyElement) error {
	if len(schema) == 0 || schema[0].Type != "HASH" {
		return invalid("Invalid KeySchema: The first KeySchemaElement is not a HASH key type")
	}
	if len(schema) > 2 {
		return invalid("Invalid KeySchema: it has %d elements, at most 2 are possible", len(schema))
	}
	if len(schema) == 2 {
		if schema[1].Name == schema[0].Name {
			return invalid("Both the Hash Key and the Range Key element in the KeySchema have the same name")
		}
		if schema[1].Type != "RANGE" {
			return invalid("Invalid KeySchema: The second KeySchemaElement is not a RANGE key type")
		}
	}
	return nil
}

func elementNames(schema []KeyElement) string {
	names := make([]string, len(schema))
	for i, k := range schema {
		names[i] = k.Name
	}
	return clip(strings.Join(names, ", "), 1024)
}

// addIndex gives t, which nobody else sees yet, one more index.
func (t *Table) addIndex(x *IndexRequest, definition func(name string) *KeyAttr, status IndexStatus) *Index {
	t.nextIndex++
	r := indexRecord{
		ID: t.nextIndex, Name: x.Name, Global: x.Global, Hash: new(*definition(x.Schema[0].Name)),
		Projection: x.Projection, Include: slices.Clone(x.Include), Read: x.Read, Write: x.Write, Status: status, Ceiling: Ceiling{}.after(x.Ceiling),
	}
	if len(x.Schema) == 2 {
		r.Range = new(*definition(x.Schema[1].Name))
	}
	made := r.index(t)
	t.Indexes = append(slices.Clone(t.Indexes), made)
	return made
}
