package rules

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"mote/internal/cloud/message"
	"mote/internal/cloud/table"
)

// A result becomes an item with the kinds of DynamoDB, exactly, and the room
// for it holds nothing of the item before.
func TestResultsBecomeItems(t *testing.T) {
	b := newBench(t)
	b.create("r", `SELECT * FROM 'a'`, toAir)
	var many strings.Builder
	large := table.Item{}
	for i := range 3 * keptMembers {
		name := fmt.Sprint("m", i)
		fmt.Fprintf(&many, `,%q:true`, name)
		large[name] = table.Bool(true)
	}
	num := func(text string) table.Value { return table.Value{Kind: table.N, Str: text} }
	nested := table.Map(table.Item{
		"l": table.List(num("1"), table.String(""), table.Null(), table.Map(table.Item{})), "b": table.Bool(false), "n": num("-0.5"),
	})
	for _, c := range []struct {
		payload string
		want    table.Item
	}{
		{`{"a":"x","b":1,"c":true,"d":null,"e":[1],"f":{"g":2}}`, table.Item{
			"a": table.String("x"), "b": num("1"), "c": table.Bool(true), "d": table.Null(),
			"e": table.List(num("1")), "f": table.Map(table.Item{"g": num("2")}),
		}},
		{`{"f":false,"e":"y","d":[],"c":-1.50,"b":"1","a":null}`, table.Item{
			"a": table.Null(), "b": table.String("1"), "c": num("-1.5"), "d": table.List([]table.Value{}...), "e": table.String("y"), "f": table.Bool(false),
		}},
		{`{"o":{"l":[1,"",null,{}],"b":false,"n":-5e-1}}`, table.Item{"o": nested}},
		{`{"n":12345678901234567890123456789012345678,"m":-0,"k":1E3,"n":0.10}`, table.Item{"n": num("0.1"), "m": num("0"), "k": num("1000")}},
		{`{` + many.String()[1:] + `}`, large},
		{`{}`, table.Item{}},
	} {
		batch := b.st.NewBatch()
		out := b.Apply(batch, &message.Message{Topic: "a", Payload: []byte(c.payload)})
		batch.Discard()
		items := b.tables.items["air"]
		if len(out.Failed) > 0 {
			t.Errorf("%.80s: %v", c.payload, out.Failed[0].Err)
		} else if got := items[len(items)-1]; !reflect.DeepEqual(got, c.want) {
			t.Errorf("%.80s is put as %.500v, want %.500v", c.payload, got, c.want)
		}
	}
}

func TestResultsThatAreNoItem(t *testing.T) {
	b := newBench(t)
	b.create("r", `SELECT * FROM 'a'`, toAir)
	long := strings.Repeat("x", maxItemBytes/2)
	for _, c := range []struct{ payload, want string }{
		{`{"x":"1","n":123456789012345678901234567890123456789}`, `attribute "n": ValidationException: Attempting to store more than 38 significant digits in a Number`},
		{`{"o":{"l":[1,2e200]}}`, `attribute "o": attribute "l": ValidationException: Number overflow. Attempting to store a number with magnitude larger than supported range`},
		{`{"a":"` + long + `","b":"` + long + `"}`, fmt.Sprintf(`attribute "b": the result of the statement is larger than %d bytes`, maxItemBytes)},
	} {
		batch := b.st.NewBatch()
		out := b.Apply(batch, &message.Message{Topic: "a", Payload: []byte(c.payload)})
		if len(out.Failed) != 1 || out.Failed[0].Err.Error() != c.want || !batch.Empty() {
			t.Errorf("%.80s: %+v, want %s", c.payload, out, c.want)
		}
		batch.Discard()
	}
}
