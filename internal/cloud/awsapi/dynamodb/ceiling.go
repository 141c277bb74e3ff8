package dynamodb

import "mote/internal/cloud/table"

// ceilingInput is an OnDemandThroughput; what is absent is nil.
type ceilingInput throughput

func (s *scanner) ceiling() *ceilingInput {
	return (*ceilingInput)(s.units("OnDemandThroughput", "MaxReadRequestUnits", "MaxWriteRequestUnits"))
}

// request is the ceiling for the engine: 1 or more units, or -1 for none. of
// says in refusals what it is of.
func (c *ceilingInput) request(of string) (out table.Ceiling, err error) {
	if c == nil {
		return out, nil
	}
	for _, m := range []struct {
		name  string
		given *int64
		to    *int64
	}{{"MaxReadRequestUnits", c.read, &out.Read}, {"MaxWriteRequestUnits", c.write, &out.Write}} {
		if m.given == nil {
			continue
		}
		if *m.given < -1 || *m.given == 0 {
			return out, refused("One or more parameter values were invalid: Requested " + m.name + " for OnDemandThroughput for " + of + " is outside of valid range")
		}
		*m.to = *m.given
	}
	return out, nil
}

// describeCeiling adds what there is of an OnDemandThroughput.
func describeCeiling(d map[string]any, c table.Ceiling) {
	shown := map[string]int64{}
	if c.Read != 0 {
		shown["MaxReadRequestUnits"] = c.Read
	}
	if c.Write != 0 {
		shown["MaxWriteRequestUnits"] = c.Write
	}
	if len(shown) > 0 {
		d["OnDemandThroughput"] = shown
	}
}
