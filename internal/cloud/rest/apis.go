package rest

import (
	"cmp"
	"crypto/rand"
	"maps"
	"regexp"
	"slices"
	"sort"
	"strings"
)

// Limits (API Gateway quotas; deployments are our own choice, see Deploy).
const (
	maxAPIs        = 600
	maxResources   = 300 // of one API
	maxStages      = 10  // of one API
	maxDeployments = 20  // of one API, beside those that a stage serves
	maxKeys        = 10000
	maxPlans       = 300
	maxName        = 1024 // bytes
)

const (
	idLetters  = "abcdefghijklmnopqrstuvwxyz0123456789"
	keyLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
)

// newID returns n random letters of alphabet, without bias.
func newID(n int, alphabet string) string {
	out := make([]byte, 0, n)
	limit := byte(256 - 256%len(alphabet))
	for len(out) < n {
		var b [64]byte
		rand.Read(b[:])
		for _, c := range b {
			if len(out) < n && c < limit {
				out = append(out, alphabet[int(c)%len(alphabet)])
			}
		}
	}
	return string(out)
}

func validName(what, name string) error {
	if name == "" || len(name) > maxName {
		return badRequest("the %s must have 1 to %d characters", what, maxName)
	}
	return nil
}

// CreateAPI makes an API with a root resource; the id and date of a are set.
func (e *Engine) CreateAPI(a API) (API, error) {
	if err := validName("name of a REST API", a.Name); err != nil {
		return API{}, err
	}
	if a.APIKeySource != "" && a.APIKeySource != "HEADER" {
		return API{}, badRequest("apiKeySource %.64q is not offered here: keys come in the header x-api-key (HEADER)", a.APIKeySource)
	}
	err := e.change(func(d *draft) error {
		if len(d.apis) >= maxAPIs {
			return limitExceeded("there are already %d REST APIs", maxAPIs)
		}
		a.ID, a.RootResourceID, a.CreatedDate = newID(10, idLetters), newID(10, idLetters), d.now
		a.APIKeySource = "HEADER"
		root := &Resource{ID: a.RootResourceID, Path: "/"}
		add(d, d.apis, kindAPI, a.ID, &apiRecord{API: a, Resources: map[string]*Resource{root.ID: root}, Stages: map[string]*Stage{}})
		return nil
	})
	return a, err
}

// APIs returns all APIs, the oldest first.
func (e *Engine) APIs() []API {
	var out []API
	for _, r := range e.state.Load().apis {
		out = append(out, r.API)
	}
	sort.Slice(out, func(i, j int) bool {
		return cmp.Or(cmp.Compare(out[i].CreatedDate, out[j].CreatedDate), cmp.Compare(out[i].ID, out[j].ID)) < 0
	})
	return out
}

// API returns one API.
func (e *Engine) API(id string) (API, error) {
	r, err := e.record(id)
	if err != nil {
		return API{}, err
	}
	return r.API, nil
}

// DeleteAPI deletes an API with all that belongs to it, and takes it out of
// the usage plans.
func (e *Engine) DeleteAPI(id string) error {
	return e.change(func(d *draft) error {
		if err := remove(d, d.apis, kindAPI, id); err != nil {
			return err
		}
		return d.forgetStages(func(s PlanStage) bool { return s.APIID == id })
	})
}

// record returns the record of an API; it is not to be changed.
func (e *Engine) record(id string) (*apiRecord, error) {
	r, ok := e.state.Load().apis[id]
	if !ok {
		return nil, missing(kindAPI, id)
	}
	return r, nil
}

// Resources returns the resources of an API by path.
func (e *Engine) Resources(apiID string) ([]Resource, error) {
	r, err := e.record(apiID)
	if err != nil {
		return nil, err
	}
	var out []Resource
	for _, one := range r.Resources {
		out = append(out, *one)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Path < out[j].Path })
	return out, nil
}

// Resource returns one resource.
func (e *Engine) Resource(apiID, id string) (Resource, error) {
	r, err := e.record(apiID)
	if err != nil {
		return Resource{}, err
	}
	res, err := r.resource(id)
	if err != nil {
		return Resource{}, err
	}
	return *res, nil
}

func (r *apiRecord) resource(id string) (*Resource, error) {
	if res, ok := r.Resources[id]; ok {
		return res, nil
	}
	return nil, notFound("Invalid Resource identifier specified")
}

var validPart = regexp.MustCompile(`^([a-zA-Z0-9._\-:]+|\{[a-zA-Z0-9._\-]+\+?\})$`)

// CreateResource makes the resource part below parentID: a fixed segment,
// "{name}", or "{name+}" for the rest of the path.
func (e *Engine) CreateResource(apiID, parentID, part string) (Resource, error) {
	if len(part) > 256 || !validPart.MatchString(part) {
		return Resource{}, badRequest("Resource's path part only allow a-zA-Z0-9._-: or a valid greedy path variable and curly braces at the beginning and the end.")
	}
	var made Resource
	err := e.change(func(d *draft) error {
		r, err := d.api(apiID)
		if err != nil {
			return err
		}
		parent, err := r.resource(parentID)
		if err != nil {
			return err
		}
		if err := r.mayAdd(parent, part); err != nil {
			return err
		}
		made = Resource{ID: newID(6, idLetters), ParentID: parentID, PathPart: part, Path: strings.TrimSuffix(parent.Path, "/") + "/" + part}
		r.Resources[made.ID] = &made
		return nil
	})
	return made, err
}

func (r *apiRecord) mayAdd(parent *Resource, part string) error {
	if len(r.Resources) >= maxResources {
		return limitExceeded("the API already has %d resources", maxResources)
	}
	if strings.HasSuffix(parent.PathPart, "+}") {
		return badRequest("Cannot create a child of a resource with a greedy path variable: %s", parent.PathPart)
	}
	for _, sibling := range r.Resources {
		if sibling.ParentID != parent.ID {
			continue
		}
		if sibling.PathPart == part {
			return conflict("Another resource with the same parent already has this name: %s", part)
		}
		if kindOfPart(part) != fixedPart && kindOfPart(sibling.PathPart) == kindOfPart(part) {
			return badRequest("A sibling (%s) of this resource already has a variable path part -- only one is allowed", sibling.PathPart)
		}
	}
	return nil
}

// DeleteResource deletes a resource and everything below it.
func (e *Engine) DeleteResource(apiID, id string) error {
	return e.change(func(d *draft) error {
		r, err := d.api(apiID)
		if err != nil {
			return err
		}
		if _, err := r.resource(id); err != nil {
			return err
		}
		if id == r.API.RootResourceID {
			return badRequest("the root resource cannot be deleted")
		}
		r.deleteTree(id)
		return nil
	})
}

func (r *apiRecord) deleteTree(id string) {
	delete(r.Resources, id)
	for child, res := range maps.Clone(r.Resources) {
		if res.ParentID == id {
			r.deleteTree(child)
		}
	}
}

// httpMethods are the methods that a resource can have.
var httpMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "ANY"}

// PutMethod sets one method of a resource; an integration it had is dropped.
func (e *Engine) PutMethod(apiID, resourceID string, m Method) (Method, error) {
	if !slices.Contains(httpMethods, m.HTTPMethod) {
		return Method{}, badRequest("Invalid HttpMethod specified. Valid options are GET,PUT,POST,DELETE,PATCH,OPTIONS,HEAD,ANY")
	}
	if m.AuthorizationType != AuthNone && m.AuthorizationType != AuthIAM {
		return Method{}, badRequest("authorization type %.64q is not offered here: use NONE or AWS_IAM", m.AuthorizationType)
	}
	return m, e.editResource(apiID, resourceID, func(res *Resource) error {
		if _, ok := res.Methods[m.HTTPMethod]; ok {
			return conflict("Method already exists for this resource")
		}
		if res.Methods == nil {
			res.Methods = map[string]*Method{}
		}
		res.Methods[m.HTTPMethod] = &m
		return nil
	})
}

func (e *Engine) editResource(apiID, resourceID string, f func(*Resource) error) error {
	return e.change(func(d *draft) error {
		r, err := d.api(apiID)
		if err != nil {
			return err
		}
		res, err := r.resource(resourceID)
		if err != nil {
			return err
		}
		return f(res)
	})
}

func (r *Resource) method(name string) (*Method, error) {
	if m, ok := r.Methods[name]; ok {
		return m, nil
	}
	return nil, notFound("Invalid Method identifier specified")
}

// Method returns one method of a resource.
func (e *Engine) Method(apiID, resourceID, httpMethod string) (Method, error) {
	res, err := e.Resource(apiID, resourceID)
	if err != nil {
		return Method{}, err
	}
	m, err := res.method(httpMethod)
	if err != nil {
		return Method{}, err
	}
	return *m, nil
}

// DeleteMethod removes a method with its integration.
func (e *Engine) DeleteMethod(apiID, resourceID, httpMethod string) error {
	return e.editResource(apiID, resourceID, func(res *Resource) error {
		_, err := res.method(httpMethod)
		delete(res.Methods, httpMethod)
		return err
	})
}

func (e *Engine) editMethod(apiID, resourceID, httpMethod string, f func(*Method) error) error {
	return e.editResource(apiID, resourceID, func(res *Resource) error {
		m, err := res.method(httpMethod)
		if err != nil {
			return err
		}
		return f(m)
	})
}

// PutMethodResponse keeps a response of a method.
func (e *Engine) PutMethodResponse(apiID, resourceID, httpMethod string, r MethodResponse) error {
	if err := validStatus(r.StatusCode); err != nil {
		return err
	}
	return e.editMethod(apiID, resourceID, httpMethod, func(m *Method) error {
		if m.Responses == nil {
			m.Responses = map[string]*MethodResponse{}
		}
		m.Responses[r.StatusCode] = &r
		return nil
	})
}

// PutIntegration sets what a method does. It is refused when it is nothing
// that is offered here.
func (e *Engine) PutIntegration(apiID, resourceID, httpMethod string, in Integration) (Integration, error) {
	if in.PassthroughBehavior == "" {
		in.PassthroughBehavior = "WHEN_NO_MATCH"
	}
	if in.TimeoutInMillis == 0 {
		in.TimeoutInMillis = 29000
	}
	if in.CacheNamespace == "" {
		in.CacheNamespace = resourceID
	}
	if _, err := compileAction(&in); err != nil {
		return Integration{}, err
	}
	return in, e.editMethod(apiID, resourceID, httpMethod, func(m *Method) error {
		m.Integration = &in
		return nil
	})
}

// Integration returns the integration of a method.
func (e *Engine) Integration(apiID, resourceID, httpMethod string) (Integration, error) {
	m, err := e.Method(apiID, resourceID, httpMethod)
	if err != nil {
		return Integration{}, err
	}
	if m.Integration == nil {
		return Integration{}, noIntegration()
	}
	return *m.Integration, nil
}

func noIntegration() error { return notFound("Invalid Integration identifier specified") }

// DeleteIntegration removes the integration of a method.
func (e *Engine) DeleteIntegration(apiID, resourceID, httpMethod string) error {
	return e.editMethod(apiID, resourceID, httpMethod, func(m *Method) error {
		if m.Integration == nil {
			return noIntegration()
		}
		m.Integration = nil
		return nil
	})
}

// PutIntegrationResponse sets how an integration's answer becomes the
// client's.
func (e *Engine) PutIntegrationResponse(apiID, resourceID, httpMethod string, r IntegrationResponse) error {
	if err := validStatus(r.StatusCode); err != nil {
		return err
	}
	if _, err := compileResponse(&r); err != nil {
		return err
	}
	return e.editMethod(apiID, resourceID, httpMethod, func(m *Method) error {
		if m.Integration == nil {
			return noIntegration()
		}
		if m.Integration.Responses == nil {
			m.Integration.Responses = map[string]*IntegrationResponse{}
		}
		m.Integration.Responses[r.StatusCode] = &r
		return nil
	})
}

var statusCode = regexp.MustCompile(`^[1-5]\d\d$`)

func validStatus(code string) error {
	if !statusCode.MatchString(code) {
		return badRequest("Invalid status code specified: %.32q", code)
	}
	return nil
}
