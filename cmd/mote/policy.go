//go:build !gateway

package main

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"mote/internal/cloud/policy"
)

type policyCmd struct {
	Test policyTestCmd `cmd:"" help:"Say whether a device may do something, and which statement decides. Exit status: 0 allowed, 1 denied, 2 error."`
}

// policyTestCmd answers from the policies of a running cloud or of AWS, or from
// documents in files.
type policyTestCmd struct {
	apiFlags
	Thing       string            `help:"The device: a thing with one certificate, or with --certificate to choose." placeholder:"NAME"`
	Certificate string            `help:"Its certificate: the id or the ARN; with --policy a PEM file." placeholder:"ID"`
	ClientID    string            `name:"client-id" help:"MQTT client id; default: the name of the thing." placeholder:"ID"`
	Action      string            `help:"For example iot:Publish." required:"" placeholder:"ACTION"`
	Resource    string            `help:"For example topic/a, topicfilter/a/#, client/pi, or a whole ARN." required:"" placeholder:"RESOURCE"`
	Policy      []string          `help:"Look at this policy document and at no server. Repeat for more." sep:"none" placeholder:"FILE"`
	Attribute   map[string]string `help:"Attribute of the thing (with --policy)." placeholder:"NAME=VALUE"`
	ThingType   string            `name:"thing-type" help:"Type of the thing (with --policy)." placeholder:"NAME"`
	Region      string            `help:"Region of the ARN of --resource (with --policy)." default:"us-east-1" placeholder:"NAME"`
	Account     string            `help:"Account of the ARN of --resource (with --policy)." default:"000000000001" placeholder:"ID"`
	SourceIP    string            `name:"source-ip" help:"Address of the client." placeholder:"ADDRESS"`
	Domain      string            `help:"Server name that the client asks for." placeholder:"NAME"`
	Persistent  bool              `help:"The client asks for a persistent session (iot:Connect)."`
	LastWill    string            `name:"last-will" help:"Topic of the client's last will (iot:Connect)." placeholder:"TOPIC"`
	Output      string            `help:"text, or json: one object." enum:"text,json" default:"text" short:"o"`
}

// subjectOf is what a question is about: who asks, and by which documents.
type subjectOf struct {
	policy.Subject
	arn      string             // "arn:aws:iot:<region>:<account>:"
	docs     []*policy.Document // of the subject
	versions func(name string) (string, error)
}

// Run prints the decision. A denial is exit status 1, every failure 2.
func (c policyTestCmd) Run(s *session) error {
	if err := c.check(); err != nil {
		return err
	}
	allowed, err := c.test(s)
	switch {
	case err != nil:
		return usageError{err}
	case !allowed:
		return exitStatus(1)
	}
	return nil
}

func (c policyTestCmd) check() error {
	service, name, ok := strings.Cut(c.Action, ":")
	switch {
	case !ok || service == "" || name == "" || strings.ContainsAny(c.Action, "*?"):
		return usagef("--action %q: want one action, such as iot:Publish", c.Action)
	case len(c.Policy) == 0 && c.Thing == "" && c.Certificate == "":
		return usagef("say who asks: --thing NAME, --certificate ID, or --policy FILE for documents without a server")
	case len(c.Policy) == 0 && (len(c.Attribute) > 0 || c.ThingType != ""):
		return usagef("--attribute and --thing-type go with --policy: a server knows the thing")
	case c.Thing == "" && (len(c.Attribute) > 0 || c.ThingType != ""):
		return usagef("--attribute and --thing-type need --thing")
	}
	return nil
}

func (c policyTestCmd) test(s *session) (allowed bool, err error) {
	var who subjectOf
	var server *policyServer
	if len(c.Policy) > 0 {
		who, err = c.offline()
	} else {
		server, who, err = c.online(s.ctx)
	}
	if err != nil {
		return false, err
	}
	who.SourceIP, who.DomainName, who.PersistentConnect = c.SourceIP, c.Domain, c.Persistent
	who.LastWill, who.LastWillTopic = c.LastWill != "", c.LastWill
	resource, err := wholeARN(who.arn, c.Resource)
	if err != nil {
		return false, err
	}
	trace := policy.Explain(&who.Subject, who.arn, who.docs, c.Action, resource)
	if server != nil {
		if err := server.confirm(s.ctx, c, &who, &trace, resource, s.stderr); err != nil {
			return false, err
		}
	}
	return trace.Allowed, c.print(s.stdout, &trace, who, resource)
}

// offline reads the documents of --policy.
func (c policyTestCmd) offline() (who subjectOf, err error) {
	who.arn = "arn:aws:iot:" + c.Region + ":" + c.Account + ":"
	if who.ClientID = c.ClientID; c.ClientID == "" {
		who.ClientID = c.Thing
	}
	if c.Thing != "" && who.ClientID == c.Thing {
		who.Thing = &policy.Thing{Name: c.Thing, TypeName: c.ThingType, Attributes: c.Attribute}
	}
	if c.Certificate != "" {
		text, err := os.ReadFile(c.Certificate)
		if err != nil {
			return who, err
		}
		if who.Subject.Certificate, err = parseCertificate(text); err != nil {
			return who, fmt.Errorf("%s: %w", c.Certificate, err)
		}
	}
	for _, path := range c.Policy {
		text, err := readInput(path, nil, maxPayload)
		if err != nil {
			return who, err
		}
		d, err := policy.Compile(strings.TrimSuffix(filepath.Base(path), ".json"), string(text))
		if err != nil {
			return who, fmt.Errorf("%s: %w", path, err)
		}
		who.docs = append(who.docs, d)
	}
	return who, nil
}

func parseCertificate(text []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("not a certificate in PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}

// resourceTypes begin the resources that actions are about.
var resourceTypes = []string{"client/", "topic/", "topicfilter/", "thing/", "rolealias/", "thinggroup/", "cert/", "policy/", "rule/", "job/"}

func wholeARN(prefix, resource string) (string, error) {
	if resource == "*" || strings.HasPrefix(resource, "arn:") {
		return resource, nil
	}
	for _, t := range resourceTypes {
		if rest, ok := strings.CutPrefix(resource, t); ok && rest != "" {
			return prefix + resource, nil
		}
	}
	return "", fmt.Errorf("--resource %q: want an ARN, or its end: topic/… to publish and receive, topicfilter/… to subscribe, client/… to connect", resource)
}

// verdict is a Trace for programs.
type verdict struct {
	Decision  string          `json:"decision"` // allowed, denied
	Explicit  bool            `json:"explicit_deny"`
	Action    string          `json:"action"`
	Resource  string          `json:"resource"`
	ClientID  string          `json:"client_id"`
	Policy    string          `json:"policy,omitempty"`
	Version   string          `json:"version,omitempty"`
	Index     *int            `json:"statement_index,omitempty"`
	Sid       string          `json:"sid,omitempty"`
	Statement json.RawMessage `json:"statement,omitempty"`
	Misses    []string        `json:"misses,omitempty"` // of the nearest statement, when none decided
	Why       string          `json:"why,omitempty"`
}

func (c policyTestCmd) print(w io.Writer, t *policy.Trace, who subjectOf, resource string) error {
	v := verdict{Decision: "denied", Explicit: t.Denied(), Action: c.Action, Resource: resource, ClientID: who.ClientID, Misses: t.Misses, Why: t.Why}
	if t.Allowed {
		v.Decision = "allowed"
	}
	if st := t.Statement; st != nil {
		v.Policy, v.Index, v.Sid = st.Policy, &st.Index, st.Sid
		var compact bytes.Buffer
		if err := json.Compact(&compact, []byte(st.Source)); err != nil {
			return err
		}
		v.Statement = compact.Bytes()
		if who.versions != nil {
			var err error
			if v.Version, err = who.versions(st.Policy); err != nil {
				return err
			}
		}
	}
	if c.Output == "json" {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		return enc.Encode(v)
	}
	_, err := io.WriteString(w, v.text())
	return err
}

// text is a verdict for people.
func (v verdict) text() string {
	var b strings.Builder
	line := func(label, format string, args ...any) {
		fmt.Fprintf(&b, "%-10s %s\n", label, fmt.Sprintf(format, args...))
	}
	what := fmt.Sprintf("%s on %s", v.Action, v.Resource)
	switch {
	case v.Decision == "allowed":
		line("allowed", "%s", what)
	case v.Explicit:
		line("denied", "%s: a statement denies it", what)
	default:
		line("denied", "%s: no matching allow", what)
	}
	if v.Index == nil {
		line("nearest", "no statement of any policy allows anything")
		return b.String()
	}
	at := fmt.Sprintf("policy %s", v.Policy)
	if v.Version != "" {
		at += ", version " + v.Version
	}
	at += fmt.Sprintf(", statement %d", *v.Index)
	if v.Sid != "" {
		at += fmt.Sprintf(" (%s)", v.Sid)
	}
	if len(v.Misses) == 0 {
		line("decided by", "%s", at)
	} else {
		line("nearest", "%s: would allow it but for its %s", at, strings.Join(v.Misses, " and its "))
		line("because", "%s", v.Why)
	}
	line("statement", "%s", v.Statement)
	return b.String()
}
