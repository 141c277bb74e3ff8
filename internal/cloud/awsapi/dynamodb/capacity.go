package dynamodb

import "mote/internal/cloud/table"

// capacity adds ConsumedCapacity when the request asks for it: units in all,
// of which some are those of indexes.
func (a *answer) capacity(in *input, name string, units float64, indexes ...table.IndexUnits) {
	if in.wantsCapacity() {
		a.member("ConsumedCapacity")
		a.out = in.appendCapacity(a.out, name, units, indexes...)
	}
}

func (in *input) appendCapacity(out []byte, name string, units float64, indexes ...table.IndexUnits) []byte {
	out = appendString(append(out, `{"TableName":`...), name)
	out = appendUnits(append(out, `,"CapacityUnits":`...), units)
	if *in.returnCapacity == "INDEXES" {
		for _, x := range indexes {
			units -= x.Units
		}
		out = appendUnits(append(out, `,"Table":{"CapacityUnits":`...), units)
		out = append(out, '}')
		out = appendIndexUnits(out, "LocalSecondaryIndexes", indexes, false)
		out = appendIndexUnits(out, "GlobalSecondaryIndexes", indexes, true)
	}
	return append(out, '}')
}

func appendIndexUnits(out []byte, member string, indexes []table.IndexUnits, global bool) []byte {
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
		out = appendUnits(append(appendString(out, x.Name), `:{"CapacityUnits":`...), x.Units)
		out = append(out, '}')
	}
	if !first {
		out = append(out, '}')
	}
	return out
}
