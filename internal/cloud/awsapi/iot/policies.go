package iot

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"mote/internal/cloud/awsapi"
	"mote/internal/cloud/policy"
	"mote/internal/cloud/registry"
)

// policyDocument reads the members of a request that makes a policy or a
// version of one.
func policyDocument(c *call) (document string, tags map[string]string, err error) {
	var in struct {
		Document *string `json:"policyDocument"`
		Tags     []tag   `json:"tags"`
	}
	if err := c.body(&in); err != nil {
		return "", nil, err
	}
	if in.Document == nil {
		return "", nil, badRequest("policyDocument is missing")
	}
	return *in.Document, tagMap(in.Tags), nil
}

func createPolicy(h *Handler, c *call) (any, error) {
	document, tags, err := policyDocument(c)
	if err != nil {
		return nil, err
	}
	p, err := h.reg.CreatePolicy(c.label("policyName"), document, tags)
	if err != nil {
		return nil, err
	}
	return map[string]string{
		"policyName": p.Name, "policyArn": h.policyARN(p.Name), "policyDocument": document, "policyVersionId": strconv.Itoa(p.Default),
	}, nil
}

func (h *Handler) policyARN(name string) string { return h.reg.ARN("policy/" + name) }

func getPolicy(h *Handler, c *call) (any, error) {
	p, err := h.reg.Policy(c.label("policyName"))
	if err != nil {
		return nil, err
	}
	v, err := p.Version(p.Default)
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"policyName": p.Name, "policyArn": h.policyARN(p.Name), "policyDocument": v.Document, "defaultVersionId": strconv.Itoa(p.Default),
		"creationDate": epoch(p.Created), "lastModifiedDate": epoch(p.Modified), "generationId": p.GenerationID,
	}, nil
}

// policyName is a policy in lists.
type policyName struct {
	Name string `json:"policyName"`
	ARN  string `json:"policyArn"`
}

func (h *Handler) policyNames(names []string) []policyName {
	return each(names, func(n string) policyName { return policyName{n, h.policyARN(n)} })
}

func listPolicies(h *Handler, c *call) (any, error) {
	p, err := c.pageByTime()
	if err != nil {
		return nil, err
	}
	policies, next, err := h.reg.Policies(p)
	names := each(policies, func(p registry.Policy) string { return p.Name })
	return pageOf("policies", h.policyNames(names), nextMarker, next), err
}

func deletePolicy(h *Handler, c *call) (any, error) {
	return nil, h.reg.DeletePolicy(c.label("policyName"))
}

func createPolicyVersion(h *Handler, c *call) (any, error) {
	asDefault, err := c.flag("setAsDefault", false)
	if err != nil {
		return nil, err
	}
	document, _, err := policyDocument(c)
	if err != nil {
		return nil, err
	}
	name := c.label("policyName")
	v, err := h.reg.CreatePolicyVersion(name, document, asDefault)
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"policyArn": h.policyARN(name), "policyDocument": document, "policyVersionId": strconv.Itoa(v.ID), "isDefaultVersion": asDefault,
	}, nil
}

func listPolicyVersions(h *Handler, c *call) (any, error) {
	p, err := h.reg.Policy(c.label("policyName"))
	if err != nil {
		return nil, err
	}
	out := []map[string]any{}
	for _, v := range slices.Backward(p.Versions) {
		out = append(out, map[string]any{"versionId": strconv.Itoa(v.ID), "isDefaultVersion": v.ID == p.Default, "createDate": epoch(v.Created)})
	}
	return map[string]any{"policyVersions": out}, nil
}

func getPolicyVersion(h *Handler, c *call) (any, error) {
	p, err := h.reg.Policy(c.label("policyName"))
	if err != nil {
		return nil, err
	}
	id, err := registry.ParseVersion(c.label("policyVersionId"))
	if err != nil {
		return nil, err
	}
	v, err := p.Version(id)
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"policyName": p.Name, "policyArn": h.policyARN(p.Name), "policyDocument": v.Document, "policyVersionId": strconv.Itoa(v.ID),
		"isDefaultVersion": v.ID == p.Default, "creationDate": epoch(v.Created), "lastModifiedDate": epoch(v.Created), "generationId": p.GenerationID,
	}, nil
}

func setDefaultPolicyVersion(h *Handler, c *call) (any, error) {
	id, err := registry.ParseVersion(c.label("policyVersionId"))
	if err != nil {
		return nil, err
	}
	return nil, h.reg.SetDefaultPolicyVersion(c.label("policyName"), id)
}

func deletePolicyVersion(h *Handler, c *call) (any, error) {
	id, err := registry.ParseVersion(c.label("policyVersionId"))
	if err != nil {
		return nil, err
	}
	return nil, h.reg.DeletePolicyVersion(c.label("policyName"), id)
}

// target reads the target of AttachPolicy and DetachPolicy.
func (h *Handler) target(c *call) (target string, err error) {
	var in struct {
		Target string `json:"target"`
	}
	if err := c.body(&in); err != nil {
		return "", err
	}
	return h.policyTarget("target", in.Target)
}

// policyTarget reads a target; what says where it stands.
func (h *Handler) policyTarget(what, name string) (string, error) {
	if name == "" {
		return "", badRequest("%s is missing: it must be the ARN of a certificate or a thing group", what)
	}
	return h.reg.Target(name)
}

func attachPolicy(h *Handler, c *call) (any, error) {
	if _, err := h.reg.Policy(c.label("policyName")); err != nil {
		return nil, err // before one about the form of the target
	}
	id, err := h.target(c)
	if err != nil {
		return nil, err
	}
	return nil, h.reg.AttachPolicy(c.label("policyName"), id)
}

func detachPolicy(h *Handler, c *call) (any, error) {
	id, err := h.target(c)
	if err != nil {
		return nil, err
	}
	return nil, h.reg.DetachPolicy(c.label("policyName"), id)
}

func listAttachedPolicies(h *Handler, c *call) (any, error) {
	return h.attachedPolicies(c, "the target", c.label("target"))
}

// attachedPolicies lists by name, as policyTargets does: the older operations have
// an isAscendingOrder, and the API reference does not say what holds without it.
func (h *Handler) attachedPolicies(c *call, what, arn string) (any, error) {
	p, err := c.pageInOrder(true)
	if err != nil {
		return nil, err
	}
	recursive, err := c.flag("recursive", false)
	if err != nil {
		return nil, err
	}
	target, err := h.policyTarget(what, arn)
	if err != nil {
		return nil, err
	}
	names, next, err := h.reg.AttachedPolicies(target, recursive, p)
	return pageOf("policies", h.policyNames(names), nextMarker, next), err
}

func listTargetsForPolicy(h *Handler, c *call) (any, error) {
	return h.policyTargets(c, "targets", c.label("policyName"))
}

func (h *Handler) policyTargets(c *call, member, name string) (any, error) {
	p, err := c.pageInOrder(true)
	if err != nil {
		return nil, err
	}
	targets, next, err := h.reg.PolicyTargets(name, p)
	return pageOf(member, each(targets, h.reg.TargetName), nextMarker, next), err
}

// The older names of the same operations, which old tutorials still use.
const (
	oldPrincipalHeader = "x-amzn-iot-principal"
	oldPolicyHeader    = "x-amzn-iot-policy"
)

func attachPrincipalPolicy(h *Handler, c *call) (any, error) {
	if _, err := h.reg.Policy(c.label("policyName")); err != nil {
		return nil, err
	}
	id, err := h.policyTarget("the header "+oldPrincipalHeader, c.header(oldPrincipalHeader))
	if err != nil {
		return nil, err
	}
	return nil, h.reg.AttachPolicy(c.label("policyName"), id)
}

func detachPrincipalPolicy(h *Handler, c *call) (any, error) {
	id, err := h.policyTarget("the header "+oldPrincipalHeader, c.header(oldPrincipalHeader))
	if err != nil {
		return nil, err
	}
	return nil, h.reg.DetachPolicy(c.label("policyName"), id)
}

func listPrincipalPolicies(h *Handler, c *call) (any, error) {
	return h.attachedPolicies(c, "the header "+oldPrincipalHeader, c.header(oldPrincipalHeader))
}

func listPolicyPrincipals(h *Handler, c *call) (any, error) {
	return h.policyTargets(c, "principals", c.header(oldPolicyHeader))
}

func getEffectivePolicies(h *Handler, c *call) (any, error) {
	var in struct {
		Principal string `json:"principal"`
		Pool      string `json:"cognitoIdentityPoolId"`
	}
	if err := c.body(&in); err != nil {
		return nil, err
	}
	thing := c.query.Get("thingName")
	if in.Principal == "" && thing == "" && in.Pool == "" {
		return nil, badRequest("nothing says whose policies are meant: give principal, the ARN of a certificate, or thingName")
	}
	target := ""
	if in.Principal != "" {
		var err error
		if target, err = h.policyTarget("principal", in.Principal); err != nil {
			return nil, err
		}
	}
	policies, err := h.reg.EffectivePolicies(target, thing)
	out := []map[string]string{}
	for _, p := range policies {
		v, err := p.Version(p.Default)
		if err != nil {
			return nil, err
		}
		out = append(out, map[string]string{"policyName": p.Name, "policyArn": h.policyARN(p.Name), "policyDocument": v.Document})
	}
	return map[string]any{"effectivePolicies": out}, err
}

// authInfo is one question of TestAuthorization.
type authInfo struct {
	ActionType string   `json:"actionType"`
	Resources  []string `json:"resources"`
}

// authActions are the actions that TestAuthorization can ask for.
var authActions = map[string]string{
	"CONNECT": "iot:Connect", "PUBLISH": "iot:Publish", "SUBSCRIBE": "iot:Subscribe", "RECEIVE": "iot:Receive",
}

// maxAuthInfos is how many questions one call may have (API model).
const maxAuthInfos = 10

func testAuthorization(h *Handler, c *call) (any, error) {
	var in struct {
		Principal string     `json:"principal"`
		AuthInfos []authInfo `json:"authInfos"`
		Add       []string   `json:"policyNamesToAdd"`
		Skip      []string   `json:"policyNamesToSkip"`
	}
	if err := c.body(&in); err != nil {
		return nil, err
	}
	if n := len(in.AuthInfos); n < 1 || n > maxAuthInfos {
		return nil, badRequest("authInfos has %d entries: it must have 1 to %d", n, maxAuthInfos)
	}
	s := &policy.Subject{ClientID: c.query.Get("clientId"), SourceIP: awsapi.Caller(c.r.Context()).SourceIP}
	target, err := h.testSubject(s, in.Principal)
	if err != nil {
		return nil, err
	}
	for _, name := range in.Add {
		if _, err := h.reg.Policy(name); err != nil {
			return nil, err
		}
	}
	judge := h.reg.JudgeTarget(s, target, in.Add, in.Skip)
	var results []any
	for _, q := range in.AuthInfos {
		r, err := h.authorize(judge, q)
		if err != nil {
			return nil, err
		}
		results = append(results, r)
	}
	return map[string]any{"authResults": results}, nil
}

// testSubject fills in what a principal says of s, and returns the target whose
// policies count; "" without a principal.
func (h *Handler) testSubject(s *policy.Subject, principal string) (target string, err error) {
	if principal == "" {
		return "", nil
	}
	if target, err = h.policyTarget("principal", principal); err != nil {
		return "", err
	}
	if !strings.HasPrefix(principal, h.reg.ARN("cert/")) {
		return target, nil
	}
	cert, err := h.reg.Certificate(target)
	if err != nil {
		return "", err
	}
	s.CertificateID = target
	s.Certificate, _ = cert.Parse() // variables of one that cannot be read have no value
	return target, nil
}

// authorize answers one question: all its resources must be allowed.
func (h *Handler) authorize(judge policy.Judge, q authInfo) (any, error) {
	action := authActions[q.ActionType]
	if action == "" || len(q.Resources) == 0 {
		return nil, badRequest("authInfos has actionType %q with %d resources: it must be CONNECT, PUBLISH, SUBSCRIBE or RECEIVE with at least one", q.ActionType, len(q.Resources))
	}
	var allowing, denying []string
	decision := "ALLOWED"
	for _, resource := range q.Resources {
		switch d := judge.Decide(action, resource); {
		case d.Allowed:
			allowing = append(allowing, d.Policy)
		case d.Policy != "":
			denying = append(denying, d.Policy)
			decision = "EXPLICIT_DENY"
		case decision == "ALLOWED":
			decision = "IMPLICIT_DENY"
		}
	}
	list := func(names []string) map[string]any {
		slices.Sort(names)
		return map[string]any{"policies": h.policyNames(slices.Compact(names))}
	}
	return map[string]any{
		"authInfo": q, "authDecision": decision, "missingContextValues": []string{},
		"allowed": list(allowing),
		"denied":  map[string]any{"implicitDeny": list(nil), "explicitDeny": list(denying)},
	}, nil
}

// notFound is a failure of an operation on a resource that does not exist.
func notFound(format string, args ...any) error {
	return awsapi.Errorf(http.StatusNotFound, string(registry.NotFound), format, args...)
}
