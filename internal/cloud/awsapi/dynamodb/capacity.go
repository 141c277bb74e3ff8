package dynamodb

import (
	"maps"
	"slices"
	"strconv"

	"mote/internal/cloud/table"
)

// capacity adds ConsumedCapacity when the request asks for it: units in all,
// of which some are those of indexes.
func (a *answer) capacity(in *input, name string, units float64, indexes ...table.IndexUnits) {
	if in.wantsCapacity() {
		a.member("ConsumedCapacity")
		a.out = in.appendCapacity(a.out, "", name, table.Consumed{Units: units, Indexes: indexes})
	}
}

// capacities adds ConsumedCapacity of several tables. Transactions give the
// member, ReadCapacityUnits or WriteCapacityUnits, that repeats the units by
// their kind; for others it is "".
func (a *answer) capacities(in *input, kind string, costs table.Costs) {
	if !in.wantsCapacity() {
		return
	}
	a.member("ConsumedCapacity")
	a.out = appendList(a.out, slices.Sorted(maps.Keys(costs)), func(out []byte, name string) []byte {
		return in.appendCapacity(out, kind, name, costs[name])
	})
}

func (in *input) appendCapacity(out []byte, kind, name string, c table.Consumed) []byte {
	out = appendString(append(out, `{"TableName":`...), name)
	out = appendUnits(append(out, ','), kind, c.Units)
	if *in.returnCapacity == "INDEXES" {
		rest := c.Units
		for _, x := range c.Indexes {
			rest -= x.Units
		}
		out = append(appendUnits(append(out, `,"Table":{`...), kind, rest), '}')
		out = appendIndexUnits(out, kind, "LocalSecondaryIndexes", c.Indexes, false)
		out = appendIndexUnits(out, kind, "GlobalSecondaryIndexes", c.Indexes, true)
	}
	return append(out, '}')
}

func appendIndexUnits(out []byte, kind, member string, indexes []table.IndexUnits, global bool) []byte {
	first := true
	for _, x := range indexes {
		if x.Global != global {
			continue
		}
		if first {
			out = append(appendString(append(out, ','), member), ":{"...)
		} else {
			out = append(out, ',')
		}
		first = false
		out = append(appendString(out, x.Name), ":{"...)
		out = append(appendUnits(out, kind, x.Units), '}')
	}
	if !first {
		out = append(out, '}')
	}
	return out
}

// appendUnits appends CapacityUnits, and the same by their kind unless it is "".
func appendUnits(out []byte, kind string, units float64) []byte {
	out = strconv.AppendFloat(append(out, `"CapacityUnits":`...), units, 'f', 1, 64)
	if kind == "" {
		return out
	}
	out = append(appendString(append(out, ','), kind), ':')
	return strconv.AppendFloat(out, units, 'f', 1, 64)
}
