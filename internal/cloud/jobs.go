package cloud

import (
	"fmt"
	"io"
	"math"
	"os"

	"mote/internal/cloud/jobs"
	"mote/internal/cloud/registry"
)

// openJobs opens the jobs. What time has to do with them begins when the broker
// can publish it.
func (c *Cloud) openJobs() {
	c.jobs = jobs.New(c.store, jobs.Options{Fleet: fleet{c.registry}, ARN: c.registry.ARN, Documents: c.jobDocument, Log: c.log})
}

// maxJobDocument bounds what is read of a job's document; the jobs know how
// long it may be.
const maxJobDocument = 64 << 10

// jobDocument reads a job's document from the directory of buckets.
func (c *Cloud) jobDocument(bucket, key string) (data []byte, err error) {
	root, err := os.OpenRoot(c.opts.Actions.Buckets)
	if err != nil {
		return nil, fmt.Errorf("directory of buckets: %w", err)
	}
	defer root.Close()
	f, err := root.Open(bucket + "/" + key)
	if err != nil {
		return nil, fmt.Errorf("directory of buckets: %w", err)
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxJobDocument))
}

// fleet tells the jobs which things there are.
type fleet struct{ registry *registry.Registry }

// HasThing implements jobs.Fleet.
func (f fleet) HasThing(name string) bool {
	_, err := f.registry.Thing(name)
	return err == nil
}

// HasGroup implements jobs.Fleet.
func (f fleet) HasGroup(name string) bool {
	_, _, err := f.registry.ThingGroup(name)
	return err == nil
}

// GroupMembers implements jobs.Fleet.
func (f fleet) GroupMembers(name string) []string {
	names, _, err := f.registry.ThingsInGroup(name, true, registry.Page{Max: math.MaxInt32})
	if err != nil { // the group is gone
		return nil
	}
	return names
}
