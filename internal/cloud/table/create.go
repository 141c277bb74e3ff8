package table

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"mote/internal/cloud/store"
)

// KeyElement is one element of a KeySchema.
type KeyElement struct {
	Name string
	Type string // HASH or RANGE
}

// CreateRequest asks for a new table.
type CreateRequest struct {
	Name       string
	Attributes []KeyAttr    // AttributeDefinitions: exactly those of Schema and of the indexes
	Schema     []KeyElement // HASH, or HASH and RANGE
	Billing    string       // "" is Provisioned
	Read       int64        // with Provisioned: at least 1
	Write      int64
	Class      string
	Ceiling    Ceiling
	Tags       []Tag
	Protected  bool           // DeleteTable is refused
	Stream     string         // view of the stream; "": none
	Local      []IndexRequest // nil: none were given
	Global     []IndexRequest

	exists bool // the table is there, and gets an index
}

// maxTables is DynamoDB's default quota per account and region.
const maxTables = 2500

// Create makes a table; it is ready and durable when Create returns.
func (db *DB) Create(r CreateRequest) (*Table, error) {
	t, err := r.table()
	if err != nil {
		return nil, err
	}
	db.ddl.Lock()
	defer db.ddl.Unlock()
	if _, exists := (*db.tables.Load())[r.Name]; exists {
		return nil, &Error{Code: CodeInUse, Message: "Table already exists: " + r.Name}
	}
	if err := db.number(t); err != nil {
		return nil, err
	}
	for _, x := range r.indexes() {
		t.addIndex(&x, r.definition, IndexActive)
	}
	b := db.st.NewBatch()
	if r.Stream != "" {
		if err := db.openStream(t, r.Stream, b); err != nil {
			b.Discard()
			return nil, err
		}
	}
	if err := db.addTable(t, b); err != nil {
		return nil, err
	}
	return t, nil
}

// number gives a new table the id that addTable uses up. The caller holds ddl
// until then.
func (db *DB) number(t *Table) error {
	if len(*db.tables.Load()) >= maxTables {
		return &Error{Code: CodeLimit, Message: fmt.Sprintf("Subscriber limit exceeded: There is a limit of %d tables per subscriber", maxTables)}
	}
	t.id, t.ARN = db.nextID, db.ARN(t.Name)
	for _, x := range t.Indexes {
		x.entries.id = t.id
	}
	return nil
}

// addTable makes a table known and durable, with what is in b.
func (db *DB) addTable(t *Table, b *store.Batch) error {
	data, err := json.Marshal(t.record())
	if err != nil {
		b.Discard()
		return err
	}
	b.Set(catalogueKey(t.Name), data)
	b.Set(nextIDKey, binary.BigEndian.AppendUint32(nil, db.nextID+1))
	if err := db.st.Commit(b); err != nil {
		return err
	}
	db.nextID++
	db.setTable(t.Name, t)
	db.resume(t)
	return nil
}

// table checks the request in DynamoDB's order and returns the table it describes.
func (r *CreateRequest) table() (*Table, error) {
	if err := CheckName(r.Name); err != nil {
		return nil, err
	}
	if err := r.checkBilling(); err != nil {
		return nil, err
	}
	if err := r.checkSchema(); err != nil {
		return nil, err
	}
	if err := r.checkCeiling(); err != nil {
		return nil, err
	}
	if err := checkTags(r.Tags); err != nil {
		return nil, err
	}
	t := &Table{
		Name: r.Name, Hash: *r.definition(r.Schema[0].Name), Billing: r.Billing, Read: r.Read, Write: r.Write, Class: r.Class,
		Ceiling: Ceiling{}.after(r.Ceiling), Tags: slices.Clone(r.Tags), Created: time.Now().Truncate(time.Millisecond), UUID: newUUID(),
		Protected: r.Protected, live: new(atomic.Pointer[Table]),
	}
	if len(r.Schema) == 2 {
		t.Range = new(*r.definition(r.Schema[1].Name))
	}
	return t, nil
}

// CheckName refuses what can not be the name of a table.
func CheckName(name string) error {
	ok := len(name) >= 3 && len(name) <= 255
	for i := 0; ok && i < len(name); i++ {
		c := name[i]
		ok = isLetter(c) || isDigit(c) || c == '_' || c == '.' || c == '-'
	}
	if !ok {
		return invalid("Invalid table/index name.  Table/index names must be between 3 and 255 characters long, and may contain only the characters a-z, A-Z, 0-9, '_', '-', and '.'")
	}
	return nil
}

func (r *CreateRequest) checkBilling() error {
	switch r.Billing {
	case "", Provisioned:
		r.Billing = Provisioned
		if r.Read < 1 || r.Write < 1 {
			return invalidParam("ReadCapacityUnits and WriteCapacityUnits must both be specified when BillingMode is PROVISIONED")
		}
		return checkUnits(r.Read, r.Write)
	case PayPerRequest:
		if r.Read != 0 || r.Write != 0 {
			return invalidParam("Neither ReadCapacityUnits nor WriteCapacityUnits can be specified when BillingMode is PAY_PER_REQUEST")
		}
	default:
		return invalidParam("BillingMode %s is neither PROVISIONED nor PAY_PER_REQUEST", clip(r.Billing, 64))
	}
	return nil
}

// maxUnits bounds what can be asked for a table in one second.
const maxUnits = 1_000_000_000_000

// checkUnits refuses capacity units beyond all bounds.
func checkUnits(read, write int64) error {
	switch {
	case read > maxUnits:
		return invalid("Given value %d for ReadCapacityUnits is out of bounds", read)
	case write > maxUnits:
		return invalid("Given value %d for WriteCapacityUnits is out of bounds", write)
	}
	return nil
}

func (r *CreateRequest) checkSchema() error {
	if len(r.Schema) > len(r.Attributes) {
		return invalid("Invalid KeySchema: Some index key attribute have no definition")
	}
	if err := checkElements(r.Schema); err != nil {
		return err
	}
	if err := checkTwice(r.Attributes); err != nil {
		return err
	}
	return r.checkDefinitions()
}

// checkTwice refuses definitions of one attribute that are two.
func checkTwice(definitions []KeyAttr) error {
	seen := map[string]bool{}
	for _, d := range definitions {
		if seen[d.Name] {
			return invalid("Attribute Name is duplicated: %s", d.Name)
		}
		seen[d.Name] = true
	}
	return nil
}

func (r *CreateRequest) checkDefinitions() error {
	for _, k := range r.Schema {
		if k.Name == "" || len(k.Name) > 255 {
			return invalidParam("the name of a key attribute has 1 to 255 bytes, not %d", len(k.Name))
		}
		d := r.definition(k.Name)
		if d == nil {
			return invalidParam("Some index key attributes are not defined in AttributeDefinitions. Keys: [%s], AttributeDefinitions: [%s]", elementNames(r.Schema), r.definedNames())
		}
		if d.Kind < S || d.Kind > B {
			return invalidParam("Key attribute %s has type %s: only S, N and B can be keys", k.Name, d.Kind)
		}
	}
	if err := r.checkIndexes(); err != nil {
		return err
	}
	return r.checkUse()
}

// checkUse refuses definitions that no key uses.
func (r *CreateRequest) checkUse() error {
	used := map[string]bool{}
	schemas := [][]KeyElement{r.Schema}
	for _, x := range r.indexes() {
		schemas = append(schemas, x.Schema)
	}
	for _, k := range slices.Concat(schemas...) {
		used[k.Name] = true
	}
	switch {
	case len(r.Attributes) == len(used):
	case len(schemas) > 1:
		return invalidParam("Some AttributeDefinitions are not used. AttributeDefinitions: [%s], keys used: [%s]", r.definedNames(), clip(strings.Join(slices.Sorted(maps.Keys(used)), ", "), 1024))
	default:
		return invalidParam("Number of attributes in KeySchema does not exactly match number of attributes defined in AttributeDefinitions")
	}
	return nil
}

func (r *CreateRequest) definition(name string) *KeyAttr {
	for i := range r.Attributes {
		if r.Attributes[i].Name == name {
			return &r.Attributes[i]
		}
	}
	return nil
}

func (r *CreateRequest) definedNames() string {
	var names []string
	for _, d := range r.Attributes {
		names = append(names, d.Name)
	}
	return clip(strings.Join(names, ", "), 1024)
}

// checkTags holds tags to DynamoDB's limits: 50, keys of 1 to 128 characters,
// values of up to 256, no key twice, none of AWS's own.
func checkTags(tags []Tag) error {
	if len(tags) > 50 {
		return invalid("Number of Tags exceed the current limit for the provided ResourceArn")
	}
	seen := map[string]bool{}
	for _, tag := range tags {
		switch {
		case tag.Key == "" || utf8.RuneCountInString(tag.Key) > 128:
			return invalid("The Tag Key provided is invalid, Key: %s", clip(tag.Key, 256))
		case utf8.RuneCountInString(tag.Value) > 256:
			return invalid("The Tag Value provided is invalid, Value: %s", clip(tag.Value, 512))
		case strings.HasPrefix(tag.Key, "aws:"):
			return invalid("Tag Key cannot be prefixed with aws:, Key: %s", tag.Key)
		case seen[tag.Key]:
			return invalid("Duplicate Tag Keys provided as input: Duplicate Tag Key found %s", tag.Key)
		}
		seen[tag.Key] = true
	}
	return nil
}

// newUUID returns a random UUID (RFC 9562, version 4).
func newUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
