package table

import (
	"fmt"
	"slices"

	"mote/internal/cloud/store"
)

// TableUpdate asks for changes of a table; what is zero stays as it is.
type TableUpdate struct {
	Name         string
	Billing      string
	Read, Write  int64 // with HasProvision
	HasProvision bool
	Class        string
	Ceiling      Ceiling
	Protected    *bool   // DeletionProtectionEnabled
	Stream       *string // view of a new stream; "": the stream is to end

	Attributes []KeyAttr // AttributeDefinitions, for new indexes
	Create     []IndexRequest
	Capacity   []IndexCapacity
	Drop       []string // names of global indexes
}

// IndexCapacity asks for other capacity units of a global index.
type IndexCapacity struct {
	Name         string
	Read, Write  int64 // with HasProvision
	HasProvision bool
	Ceiling      Ceiling
}

// Update changes a table; that is durable on return. A new index of a table is
// filled, and one that goes is removed, in the background: see [DB.Builds].
func (db *DB) Update(r TableUpdate) (*Table, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	t, err := db.Describe(r.Name)
	if err != nil {
		return nil, err
	}
	err = db.alterWith(r.Name, t.id, func(t *Table, b *store.Batch) error {
		if err := r.apply(t); err != nil || r.Stream == nil {
			return err
		}
		return db.setStream(t, *r.Stream, b)
	})
	if err != nil {
		return nil, err
	}
	t, err = db.Describe(r.Name)
	if err == nil {
		db.resume(t)
	}
	return t, err
}

// errOneIndex is the refusal of a second change of the set of indexes.
var errOneIndex = &Error{Code: CodeLimit, Message: "Subscriber limit exceeded: Only 1 online index can be created or deleted simultaneously per table"}

func (r *TableUpdate) check() error {
	if r.Billing == "" && !r.HasProvision && r.Class == "" && r.Ceiling == (Ceiling{}) && r.Protected == nil && r.Stream == nil && len(r.Create)+len(r.Capacity)+len(r.Drop) == 0 {
		return invalid("At least one of ProvisionedThroughput, BillingMode, UpdateStreamEnabled, GlobalSecondaryIndexUpdates, SSESpecification, ReplicaUpdates, MultiAccountReplicaReady, ReplicaTransitRoleArn, MultiRegionConsistency, " +
			"DeletionProtectionEnabled, OnDemandThroughput, WarmThroughput or TableClass is required")
	}
	if err := checkUnits(r.Read, r.Write); err != nil {
		return err
	}
	if len(r.Create)+len(r.Drop) > 1 {
		return errOneIndex
	}
	seen := map[string]bool{}
	for _, c := range r.Capacity {
		if seen[c.Name] || slices.Contains(r.Drop, c.Name) {
			return invalidParam("Only one global secondary index update per index is allowed simultaneously. Index: %s", c.Name)
		}
		seen[c.Name] = true
	}
	return nil
}

// apply changes t, which nobody else sees yet.
func (r *TableUpdate) apply(t *Table) error {
	if err := r.setBilling(t); err != nil {
		return err
	}
	if err := t.setCeiling(r.Ceiling); err != nil {
		return err
	}
	if r.Class != "" {
		t.Class = r.Class
	}
	if r.Protected != nil {
		t.Protected = *r.Protected
	}
	for _, c := range r.Capacity {
		if err := t.setCapacity(c); err != nil {
			return err
		}
	}
	for _, name := range r.Drop {
		if err := t.dropIndex(name); err != nil {
			return err
		}
	}
	for i := range r.Create {
		if err := r.create(t, &r.Create[i]); err != nil {
			return err
		}
	}
	return nil
}

func (r *TableUpdate) setBilling(t *Table) error {
	billing := r.Billing
	if billing == "" {
		billing = t.Billing
	}
	switch {
	case billing == PayPerRequest && r.HasProvision:
		return invalidParam("Neither ReadCapacityUnits nor WriteCapacityUnits can be specified when BillingMode is PAY_PER_REQUEST")
	case billing == PayPerRequest:
		t.Read, t.Write = 0, 0
	case r.HasProvision && t.Billing == billing && t.Read == r.Read && t.Write == r.Write:
		return invalid("The provisioned throughput for the table will not change. The requested value equals the current value. "+
			"Current ReadCapacityUnits provisioned for the table: %d. Requested ReadCapacityUnits: %d. "+
			"Current WriteCapacityUnits provisioned for the table: %d. Requested WriteCapacityUnits: %d. "+
			"Refer to the Amazon DynamoDB Developer Guide for current limits and how to request higher limits.", t.Read, r.Read, t.Write, r.Write)
	case r.HasProvision:
		t.Read, t.Write = r.Read, r.Write
	case t.Billing != billing:
		return invalidParam("ProvisionedThroughput must be specified when BillingMode is PROVISIONED")
	}
	t.Billing = billing
	return nil
}

// errNoIndex is the refusal of a change of an index that is not there.
func errNoIndex(t *Table, name string) error {
	return &Error{Code: CodeNotFound, Message: fmt.Sprintf("Requested resource not found: Index: %s not found in table: %s", clip(name, 255), t.Name)}
}

// replaceIndex puts a changed copy in the place of a global index.
func (t *Table) replaceIndex(name string, f func(x *Index) error) error {
	i := slices.IndexFunc(t.Indexes, func(x *Index) bool { return x.Global && x.Name == name })
	if i < 0 {
		return errNoIndex(t, name)
	}
	x := *t.Indexes[i]
	if err := f(&x); err != nil {
		return err
	}
	t.Indexes = slices.Clone(t.Indexes)
	t.Indexes[i] = &x
	return nil
}

func (t *Table) setCapacity(c IndexCapacity) error {
	return t.replaceIndex(c.Name, func(x *Index) error {
		switch {
		case t.Billing == PayPerRequest && c.HasProvision:
			return invalidParam("ProvisionedThroughput should not be specified for index: %s when BillingMode is PAY_PER_REQUEST", x.Name)
		case t.Billing == PayPerRequest && c.Ceiling == (Ceiling{}):
			return invalidParam("The only Updates for index: %s when TableThroughputMode is PAY_PER_REQUEST can be to OnDemandThroughput, WarmThroughput", x.Name)
		case t.Billing != PayPerRequest && !c.HasProvision && c.Ceiling == (Ceiling{}):
			return invalidParam("ProvisionedThroughput must be specified for index: %s", x.Name)
		case c.HasProvision:
			x.Read, x.Write = c.Read, c.Write
		}
		x.Ceiling = x.Ceiling.after(c.Ceiling)
		return c.Ceiling.checkIndex(x.Name, t.Billing)
	})
}

// dropIndex begins the removal of an index; one that is being built may go too.
func (t *Table) dropIndex(name string) error {
	for _, other := range t.Indexes {
		if other.Status == IndexDeleting || other.Status == IndexCreating && other.Name != name {
			return errOneIndex
		}
	}
	return t.replaceIndex(name, func(x *Index) error {
		x.Status = IndexDeleting
		return nil
	})
}

// create begins a new index.
func (r *TableUpdate) create(t *Table, x *IndexRequest) error {
	global, total := 0, len(x.Include)
	for _, other := range t.Indexes {
		if other.Status != IndexActive {
			return errOneIndex
		}
		if other.Global {
			global++
		}
		total += len(other.Include)
	}
	if t.IndexNamed(x.Name) != nil {
		return invalid("Attempting to create an index which already exists")
	}
	if global >= maxGlobal {
		return &Error{Code: CodeLimit, Message: fmt.Sprintf("Subscriber limit exceeded: a table has at most %d global secondary indexes", maxGlobal)}
	}
	as, err := r.asCreate(t)
	if err != nil {
		return err
	}
	if err := as.checkIndex(x); err != nil {
		return err
	}
	if err := (&CreateRequest{Attributes: r.Attributes}).checkDefined(x.Schema); err != nil { // again, though the table knows it
		return err
	}
	if err := checkNonKeyTotal(total); err != nil {
		return err
	}
	t.addIndex(x, as.definition, IndexCreating)
	return nil
}

// asCreate is the request as one that makes the table: with all definitions.
func (r *TableUpdate) asCreate(t *Table) (*CreateRequest, error) {
	if err := checkTwice(r.Attributes); err != nil {
		return nil, err
	}
	c := &CreateRequest{exists: true, Billing: t.Billing, Attributes: slices.Clone(r.Attributes)}
	for _, k := range t.keys() {
		c.Schema = append(c.Schema, KeyElement{Name: k.Name})
	}
	for _, k := range t.Attributes() {
		switch d := c.definition(k.Name); {
		case d == nil:
			c.Attributes = append(c.Attributes, k)
		case d.Kind != k.Kind:
			return nil, invalidParam("Attributes cannot be redefined. Please check that your attribute has the same type as previously defined. Existing definition: %s:%s New definition: %s:%s", k.Name, k.Kind, d.Name, d.Kind)
		}
	}
	return c, nil
}
