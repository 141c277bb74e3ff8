package registry

import (
	"encoding/json"
	"regexp"
	"slices"
	"time"
)

// TemplateType says what a provisioning template is for (AWS IoT API
// reference, CreateProvisioningTemplate).
type TemplateType string

// The types of provisioning templates.
const (
	FleetProvisioning TemplateType = "FLEET_PROVISIONING"
	JITP              TemplateType = "JITP" // for certificates that devices of a registered CA bring along
)

// Template is a provisioning template with its versions. What stands in a body
// is for package provisioning to know.
type Template struct {
	Name        string            `json:"name"`
	Description string            `json:"description,omitempty"`
	Enabled     bool              `json:"enabled"`
	Role        string            `json:"role"` // ARN; nothing here needs it
	Type        TemplateType      `json:"type"`
	Created     time.Time         `json:"created"`
	Modified    time.Time         `json:"modified"`
	Default     int               `json:"default"` // id of the version that counts
	Last        int               `json:"last"`    // id of the newest version that ever was
	Versions    []TemplateVersion `json:"versions"`
}

// TemplateVersion is one version of a provisioning template.
type TemplateVersion struct {
	ID      int       `json:"id"` // from 1
	Body    string    `json:"body"`
	Created time.Time `json:"created"`
}

// maxTemplateVersions is how many versions a template may have (AWS IoT
// quotas, "Fleet provisioning").
const maxTemplateVersions = 5

// maxTemplates bounds the templates of the account.
const maxTemplates = 256

var templateNameForm = form{regexp.MustCompile(`^[0-9A-Za-z_-]+$`), 36}

func (r *Registry) loadTemplate(id string, data []byte) error {
	t := new(Template)
	err := json.Unmarshal(data, t)
	r.templates.put(id, t)
	return err
}

// Version returns a version of the template.
func (t *Template) Version(id int) (TemplateVersion, error) {
	for _, v := range t.Versions {
		if v.ID == id {
			return v, nil
		}
	}
	return TemplateVersion{}, errorf(NotFound, "Version %d of provisioning template %s does not exist", id, t.Name)
}

// Body returns the body of the version that counts.
func (t *Template) Body() string {
	v, _ := t.Version(t.Default)
	return v.Body
}

// CreateTemplate makes a template whose first version has body; n says the rest.
func (r *Registry) CreateTemplate(n Template, body string, tags map[string]string) (Template, error) {
	if !templateNameForm.MatchString(n.Name) {
		return Template{}, errorf(InvalidRequest, "the template name %q is not valid: it must have 1 to 36 characters of a-z, A-Z, 0-9, underscore and hyphen", short(n.Name))
	}
	if n.Type == "" {
		n.Type = FleetProvisioning
	}
	if n.Type != FleetProvisioning && n.Type != JITP {
		return Template{}, errorf(InvalidRequest, "the template type %q does not exist: use FLEET_PROVISIONING or JITP", short(string(n.Type)))
	}
	if err := n.check(); err != nil {
		return Template{}, err
	}
	n.Created = now()
	n.Modified, n.Default, n.Last = n.Created, 1, 1
	n.Versions = []TemplateVersion{{1, body, n.Created}}
	err := r.change(func(t *tx) error {
		if _, ok := r.templates.get(n.Name); ok {
			e := errorf(Exists, "Template with name %s already exists", n.Name)
			e.ResourceID, e.ResourceARN = n.Name, r.ARN("provisioningtemplate/"+n.Name)
			return e
		}
		if len(r.templates.keys) >= maxTemplates {
			return errorf(LimitExceeded, "there are %d provisioning templates already, which is the limit: delete one", maxTemplates)
		}
		if len(tags) > 0 {
			if err := r.putTags(t, "provisioningtemplate/"+n.Name, tags); err != nil {
				return err
			}
		}
		return r.putTemplate(t, &n)
	})
	return n, err
}

// Lengths of texts in characters (API model).
const (
	maxTemplateText = 500
	minRole         = 20
	maxRole         = 2048
)

func (t *Template) check() error {
	if n := len([]rune(t.Description)); n > maxTemplateText {
		return errorf(InvalidRequest, "the description has %d characters, the limit is %d", n, maxTemplateText)
	}
	if n := len(t.Role); n < minRole || n > maxRole {
		return errorf(InvalidRequest, "provisioningRoleArn has %d characters: it must be an ARN of %d to %d; no role is used here", n, minRole, maxRole)
	}
	return nil
}

func (r *Registry) putTemplate(t *tx, p *Template) error {
	t.then(func() { r.templates.put(p.Name, p) })
	return t.set(kindTemplate, p.Name, p)
}

// Template returns a template; its versions are not to be changed.
func (r *Registry) Template(name string) (Template, error) {
	return copyOf(r, name, r.template)
}

// template finds a template; mu or writeMu is held.
func (r *Registry) template(name string) (*Template, error) {
	t, ok := r.templates.get(name)
	if !ok {
		return nil, errorf(NotFound, "Unable to find template named %s", short(name))
	}
	return t, nil
}

// Templates lists templates by name, and the token of the next page.
func (r *Registry) Templates(p Page) ([]Template, string, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	names, next, err := Cut(r.templates.keys, p, nil)
	return copies(&r.templates, names), next, err
}

// TemplateUpdate says what to change of a template; nil leaves it.
type TemplateUpdate struct {
	Description, Role *string
	Enabled           *bool
	Default           *int
}

// UpdateTemplate changes a template.
func (r *Registry) UpdateTemplate(name string, u TemplateUpdate) error {
	return r.changeTemplate(name, func(t *Template) error {
		if u.Description != nil {
			t.Description = *u.Description
		}
		if u.Role != nil {
			t.Role = *u.Role
		}
		if u.Enabled != nil {
			t.Enabled = *u.Enabled
		}
		if u.Default != nil {
			if _, err := t.Version(*u.Default); err != nil {
				return err
			}
			t.Default = *u.Default
		}
		return t.check()
	})
}

func (r *Registry) changeTemplate(name string, f func(*Template) error) error {
	return r.change(func(t *tx) error {
		old, err := r.template(name)
		if err != nil {
			return err
		}
		changed := *old
		changed.Versions = slices.Clone(old.Versions)
		changed.Modified = now()
		if err := f(&changed); err != nil {
			return err
		}
		return r.putTemplate(t, &changed)
	})
}

// AddTemplateVersion adds a version with body, and returns it.
func (r *Registry) AddTemplateVersion(name, body string, standard bool) (v TemplateVersion, err error) {
	err = r.changeTemplate(name, func(t *Template) error {
		if len(t.Versions) >= maxTemplateVersions {
			return errorf(VersionsLimit, "The provisioning template %s already has the maximum number of versions (%d): delete one", name, maxTemplateVersions)
		}
		t.Last++
		v = TemplateVersion{t.Last, body, t.Modified}
		t.Versions = append(t.Versions, v)
		if standard {
			t.Default = v.ID
		}
		return nil
	})
	return v, err
}

// DeleteTemplateVersion removes a version that is not the default one.
func (r *Registry) DeleteTemplateVersion(name string, id int) error {
	return r.changeTemplate(name, func(t *Template) error {
		if _, err := t.Version(id); err != nil {
			return err
		}
		if t.Default == id {
			return errorf(DeleteConflict, "Version %d of provisioning template %s is the default version: make another one the default, or delete the template", id, name)
		}
		t.Versions = slices.DeleteFunc(t.Versions, func(v TemplateVersion) bool { return v.ID == id })
		return nil
	})
}

// DeleteTemplate removes a template that no registered CA uses.
func (r *Registry) DeleteTemplate(name string) error {
	return r.change(func(t *tx) error {
		if _, err := r.template(name); err != nil {
			return err
		}
		for id, ca := range r.authorities.items {
			if ca.Config != nil && ca.Config.TemplateName == name {
				return errorf(DeleteConflict, "provisioning template %s belongs to CA certificate %s: take it from there with update-ca-certificate --remove-auto-registration", name, id)
			}
		}
		t.delete(kindTemplate, name)
		t.delete(kindTags, "provisioningtemplate/"+name)
		t.then(func() {
			r.templates.drop(name)
			delete(r.tags, "provisioningtemplate/"+name)
		})
		return nil
	})
}
