package jobs

import (
	"context"
	"strings"
)

// Template is a job that can be made again and again (AWS IoT developer guide,
// "Job templates").
type Template struct {
	ID          string        `json:"id"`
	Description string        `json:"description"`
	Source      string        `json:"source,omitempty"`
	Document    string        `json:"document"`
	Presigned   *PresignedURL `json:"presigned,omitempty"`
	Config
	Created int64 `json:"created"` // ms
}

// maxTemplates bounds how many there are.
const maxTemplates = 1000

// templateOf is the id in the ARN of a template, "" when it is none.
func (e *Engine) templateOf(arn string) string {
	id, _ := strings.CutPrefix(arn, e.arn("jobtemplate/"))
	if id == arn || !validJobID(id) {
		return ""
	}
	return id
}

// fill takes from the template of a new job what was not given.
func (e *Engine) fill(s *Spec) *Error {
	if s.Template == "" {
		return nil
	}
	id := e.templateOf(s.Template)
	if id == "" {
		return wrong("the jobTemplateArn %.300q is not one of this account and region", s.Template)
	}
	t, err := e.Template(id)
	if err != nil {
		return refuse(ResourceNotFound, "Job template %s does not exist", id)
	}
	if s.Description == "" {
		s.Description = t.Description
	}
	if s.Document == "" && s.Source == "" {
		s.Document = t.Document
	}
	if s.Presigned == nil {
		s.Presigned = t.Presigned
	}
	config := t.Config
	config.take(s.Config)
	s.Config = config
	return nil
}

// CreateTemplate makes a template, of a job when job is its ARN.
func (e *Engine) CreateTemplate(ctx context.Context, t Template, job string) error {
	if !validJobID(t.ID) {
		return wrong("the job template id %.80q is not valid: it must have 1 to %d characters of a-z, A-Z, 0-9, underscore and hyphen", t.ID, maxJobID)
	}
	if refused := checkText("description", t.Description); refused != nil || t.Description == "" {
		return wrong("the template needs a description of 1 to %d bytes without control characters", maxText)
	}
	if job != "" {
		if err := e.fromJob(&t, job); err != nil {
			return err
		}
	}
	doc, refused := e.readDocument(t.Document, t.Source)
	if refused == nil {
		refused = t.Config.check()
	}
	if refused != nil {
		return refused
	}
	t.Document, t.Created = string(doc), e.now().UnixMilli()
	return e.change(ctx, func(x *tx) *Error {
		var old Template
		if x.get(key(keyTemplate, t.ID), &old) {
			return refuse(Conflict, "Job template %s already exists", t.ID)
		}
		if ids, err := e.each(keyTemplate, nil); err == nil && len(ids) >= maxTemplates {
			return refuse(LimitExceeded, "there are %d job templates, which is the most: delete some", maxTemplates)
		}
		x.set(key(keyTemplate, t.ID), t)
		return nil
	})
}

// fromJob fills a template from a job.
func (e *Engine) fromJob(t *Template, arn string) error {
	id, own := strings.CutPrefix(arn, e.arn("job/"))
	if !own {
		return wrong("the jobArn %.300q is not one of this account and region", arn)
	}
	j, err := e.Job(id)
	if err != nil {
		return err
	}
	doc, err := e.Document(id)
	if err != nil {
		return err
	}
	if t.Document == "" && t.Source == "" {
		t.Document = doc
	}
	if t.Presigned == nil {
		t.Presigned = j.Presigned
	}
	config := j.Config
	config.take(t.Config)
	t.Config = config
	return nil
}

// Template returns a template.
func (e *Engine) Template(id string) (*Template, error) {
	t := new(Template)
	found, err := e.load(key(keyTemplate, id), t)
	switch {
	case err != nil:
		return nil, err
	case !found:
		return nil, refuse(ResourceNotFound, "Job template %.64s does not exist", id)
	}
	return t, e.settle()
}

// Templates returns up to limit templates whose ids come after the given one,
// in byte order. When there are others, next is the last one's id.
func (e *Engine) Templates(after string, limit int) (out []*Template, next string, err error) {
	err = e.walk(key(keyTemplate), after, func(_ string, value []byte) (bool, error) {
		if len(out) == limit {
			next = out[len(out)-1].ID
			return false, nil
		}
		t := new(Template)
		out = append(out, t)
		return true, readRecord(value, t)
	})
	if err != nil {
		return nil, "", err
	}
	return out, next, e.settle()
}

// DeleteTemplate deletes a template.
func (e *Engine) DeleteTemplate(ctx context.Context, id string) error {
	return e.change(ctx, func(t *tx) *Error {
		if !t.get(key(keyTemplate, id), new(Template)) {
			return refuse(ResourceNotFound, "Job template %.64s does not exist", id)
		}
		t.del(key(keyTemplate, id))
		return nil
	})
}
