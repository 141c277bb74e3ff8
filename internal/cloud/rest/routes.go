package rest

import (
	"crypto/sha256"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// Kinds of path segments, the closest match first: a fixed segment wins over
// a label, a label over a greedy one (API Gateway developer guide, "Methods
// for REST APIs").
const (
	fixedPart = iota
	labelPart
	greedyPart
)

func kindOfPart(part string) int {
	switch {
	case strings.HasSuffix(part, "+}"):
		return greedyPart
	case strings.HasPrefix(part, "{"):
		return labelPart
	}
	return fixedPart
}

// endpoint is one deployed method.
type endpoint struct {
	api      API
	stage    string
	path     string   // of the resource, for people
	labels   []string // names of the labels on the way, in order
	method   *Method
	variable map[string]string // stage variables
	action   action
}

// node is one segment of deployed paths.
type node struct {
	fixed   map[string]*node
	label   *node
	greedy  *node
	methods map[string]*endpoint // by HTTP method, or ANY
}

// routeTable is what requests need, compiled from the state.
type routeTable struct {
	stages map[string]*node            // by stage name: all APIs of this origin
	apis   map[string]map[string]*node // by API id, by stage name
	keys   map[[sha256.Size]byte]*Key  // by hash of the value, so that a look-up tells nothing by its time
	plans  map[PlanStage][]*planRecord
}

// compileRoutes makes the route table. It refuses two APIs that would serve
// the same stage, path and method: here they share one origin, while on AWS
// each has its own host name.
func compileRoutes(s *state, _ Options) (*routeTable, error) {
	t := &routeTable{stages: map[string]*node{}, apis: map[string]map[string]*node{}, keys: map[[sha256.Size]byte]*Key{}, plans: map[PlanStage][]*planRecord{}}
	for _, id := range slices.Sorted(maps.Keys(s.apis)) {
		r := s.apis[id]
		t.apis[id] = map[string]*node{}
		for _, stage := range r.Stages {
			if err := t.addStage(r, stage); err != nil {
				return nil, err
			}
		}
	}
	for _, k := range s.keys {
		t.keys[sha256.Sum256([]byte(k.Value))] = k
	}
	for _, id := range slices.Sorted(maps.Keys(s.plans)) {
		for _, stage := range s.plans[id].Stages {
			t.plans[stage] = append(t.plans[stage], s.plans[id])
		}
	}
	return t, nil
}

func (t *routeTable) addStage(r *apiRecord, stage *Stage) error {
	deployed, err := r.deployment(stage.DeploymentID)
	if err != nil {
		return err
	}
	own := &node{}
	t.apis[r.API.ID][stage.Name] = own
	if t.stages[stage.Name] == nil {
		t.stages[stage.Name] = &node{}
	}
	for _, res := range deployed.Resources {
		for _, m := range res.Methods {
			act, err := compileAction(m.Integration)
			if err != nil {
				return err
			}
			ep := &endpoint{api: r.API, stage: stage.Name, path: res.Path, method: m, action: act, variable: stage.Variables}
			if err := own.add(ep); err != nil {
				return err
			}
			if err := t.stages[stage.Name].add(ep); err != nil {
				return err
			}
		}
	}
	return nil
}

// add puts ep into the tree under n.
func (n *node) add(ep *endpoint) error {
	var labels []string
	for _, part := range pathParts(ep.path) {
		if kindOfPart(part) != fixedPart {
			labels = append(labels, strings.Trim(part, "{+}"))
		}
		n = n.child(part)
	}
	ep.labels = labels
	for name, other := range n.methods {
		if name == ep.method.HTTPMethod || other.api.ID != ep.api.ID && (name == "ANY" || ep.method.HTTPMethod == "ANY") {
			return conflict("the REST APIs %s (%s) and %s (%s) would both serve %s /%s%s on this origin: choose another stage name or path for one, or delete a stage",
				other.api.ID, other.api.Name, ep.api.ID, ep.api.Name, narrower(name, ep.method.HTTPMethod), ep.stage, ep.path)
		}
	}
	if n.methods == nil {
		n.methods = map[string]*endpoint{}
	}
	n.methods[ep.method.HTTPMethod] = ep
	return nil
}

// narrower returns the one of two overlapping methods that is not ANY.
func narrower(a, b string) string {
	if a == "ANY" {
		return b
	}
	return a
}

func (n *node) child(part string) *node {
	slot := &n.greedy
	switch kindOfPart(part) {
	case labelPart:
		slot = &n.label
	case fixedPart:
		if n.fixed == nil {
			n.fixed = map[string]*node{}
		}
		if n.fixed[part] == nil {
			n.fixed[part] = &node{}
		}
		return n.fixed[part]
	}
	if *slot == nil {
		*slot = &node{}
	}
	return *slot
}

// pathParts cuts a path into its segments; "/" has none.
func pathParts(path string) []string {
	path = strings.TrimSuffix(strings.TrimPrefix(path, "/"), "/")
	if path == "" {
		return nil
	}
	return strings.Split(path, "/")
}

// find returns the endpoint for a method and decoded segments, and the values
// of its labels. Every node is visited at most once.
func (n *node) find(method string, parts, values []string) (*endpoint, []string) {
	if len(parts) == 0 {
		if ep := n.forMethod(method); ep != nil {
			return ep, values
		}
		return nil, nil
	}
	if child := n.fixed[parts[0]]; child != nil {
		if ep, found := child.find(method, parts[1:], values); ep != nil {
			return ep, found
		}
	}
	if n.label != nil && parts[0] != "" {
		if ep, found := n.label.find(method, parts[1:], append(values, parts[0])); ep != nil {
			return ep, found
		}
	}
	if n.greedy != nil {
		if ep := n.greedy.forMethod(method); ep != nil {
			return ep, append(values, strings.Join(parts, "/"))
		}
	}
	return nil, nil
}

// forMethod prefers the named method to ANY, which stands for all that a
// resource can have.
func (n *node) forMethod(method string) *endpoint {
	if ep := n.methods[method]; ep != nil {
		return ep
	}
	if slices.Contains(httpMethods, method) {
		return n.methods["ANY"]
	}
	return nil
}

// cutStage cuts an escaped path into its stage and the decoded segments after
// it; ok is false when an escape is malformed.
func cutStage(escaped string) (stage string, parts []string, ok bool) {
	for i, raw := range pathParts(escaped) {
		part, err := url.PathUnescape(raw)
		if err != nil {
			return "", nil, false
		}
		if i == 0 {
			stage = part
		} else {
			parts = append(parts, part)
		}
	}
	return stage, parts, true
}
