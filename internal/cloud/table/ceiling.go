package table

// Ceiling is the most request units per second that someone wants of a table or
// index with PayPerRequest, its OnDemandThroughput: kept, never enforced. 0 is
// none; in a request for a change 0 leaves what there is, and noCeiling takes it
// away (Amazon DynamoDB API Reference, "OnDemandThroughput").
type Ceiling struct {
	Read  int64 `json:"read,omitempty"`
	Write int64 `json:"write,omitempty"`
}

const noCeiling = -1

// first is the member of the request that refusals name.
func (c Ceiling) first() string {
	if c.Read != 0 {
		return "MaxReadRequestUnits"
	}
	return "MaxWriteRequestUnits"
}

// after is what the ceiling becomes by a request for a change.
func (c Ceiling) after(change Ceiling) Ceiling {
	return Ceiling{ceilingAfter(c.Read, change.Read), ceilingAfter(c.Write, change.Write)}
}

func ceilingAfter(have, change int64) int64 {
	switch change {
	case 0:
		return have
	case noCeiling:
		return 0
	}
	return change
}

// checkCeiling refuses the ceiling of a new table with provisioned capacity.
func (r *CreateRequest) checkCeiling() error {
	if c := r.Ceiling; c != (Ceiling{}) && r.Billing != PayPerRequest {
		return invalidParam("%s for OnDemandThroughput cannot be specified when table BillingMode is PROVISIONED.", c.first())
	}
	return nil
}

// checkIndex refuses the ceiling of an index with provisioned capacity.
func (c Ceiling) checkIndex(name, billing string) error {
	if billing != PayPerRequest && c != (Ceiling{}) {
		return invalidParam("%s for OnDemandThroughput for index : %s cannot be specified when the table BillingMode is PROVISIONED", c.first(), name)
	}
	return nil
}

// setCeiling changes the ceiling of t, whose billing mode has been set before.
func (t *Table) setCeiling(change Ceiling) error {
	if t.Billing == PayPerRequest {
		t.Ceiling = t.Ceiling.after(change)
		return nil
	}
	if change != (Ceiling{}) {
		return invalidParam("%s for OnDemandThroughput cannot be specified when the table BillingMode is PROVISIONED", change.first())
	}
	t.dropCeilings()
	return nil
}

// dropCeilings takes away the ceilings of a table whose capacity is provisioned.
func (t *Table) dropCeilings() {
	t.Ceiling = Ceiling{}
	for _, x := range t.Indexes {
		if x.Ceiling != (Ceiling{}) {
			_ = t.replaceIndex(x.Name, func(x *Index) error { x.Ceiling = Ceiling{}; return nil })
		}
	}
}
