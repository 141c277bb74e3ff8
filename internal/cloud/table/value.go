package table

// Kind is the type of a DynamoDB attribute value.
type Kind uint8

// The ten kinds, named by their wire descriptors.
const (
	S Kind = iota + 1
	N
	B
	BOOL
	NULL
	L
	M
	SS
	NS
	BS
)

// Value is one attribute value. Only the member of its kind is set.
type Value struct {
	Kind Kind
	Str  string   // S: the text; N: canonical decimal text
	Bin  []byte   // B
	Bool bool     // BOOL
	List []Value  // L
	Map  Item     // M
	Set  []string // SS, NS (canonical decimal texts), BS (raw bytes)
}

// Item is one item, or a value of kind M.
type Item map[string]Value
