package policy

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
)

// variable is a policy variable or condition key (AWS IoT developer guide,
// "AWS IoT Core policy variables" and "X.509 Certificate policy variables").
type variable struct {
	name  string // as written
	id    varID
	attr  string // thing attribute, certificate attribute ("commonname"), kind of alternative name
	index int    // which of several values
	list  bool   // ".List": all values
}

type varID byte

const (
	varUnknown varID = iota
	varClientID
	varSourceIP
	varDomainName
	varCertificateID
	varThingName
	varThingType
	varThingAttribute
	varThingAttached
	varSubject
	varIssuer
	varSubjectAlt
	varIssuerAlt
	varSerialNumber
	varAvailableKeys
	varConnectAttributes
	varLastWillTopic
	varPrivateNetwork
)

var plainVariables = map[string]varID{
	"iot:clientid":                       varClientID,
	"aws:sourceip":                       varSourceIP,
	"iot:domainname":                     varDomainName,
	"iot:certificateid":                  varCertificateID,
	"iot:connection.thing.thingname":     varThingName,
	"iot:connection.thing.thingtypename": varThingType,
	"iot:connection.thing.isattached":    varThingAttached,
	"iot:thing.thingname":                varThingName,
	"iot:thing.thingtypename":            varThingType,
	"iot:thing.isattached":               varThingAttached,
	"credentials-iot:thingname":          varThingName, // of the policies of roles
	"credentials-iot:thingtypename":      varThingType,
	"credentials-iot:awscertificateid":   varCertificateID,
	"iot:certificate.serialnumber":       varSerialNumber,
	"iot:certificate.availablekeys":      varAvailableKeys,
	"iot:connectattributes":              varConnectAttributes,
	"iot:lastwilltopic":                  varLastWillTopic,
	"aws:sourcevpc":                      varPrivateNetwork,
	"aws:sourcevpce":                     varPrivateNetwork,
	"aws:vpcsourceip":                    varPrivateNetwork,
}

// nameAttributes are the attributes of a distinguished name, by their object
// identifiers (X.520, RFC 5280 appendix A.1).
var nameAttributes = map[string]asn1.ObjectIdentifier{
	"commonname":                 {2, 5, 4, 3},
	"surname":                    {2, 5, 4, 4},
	"serialnumber":               {2, 5, 4, 5},
	"country":                    {2, 5, 4, 6},
	"state":                      {2, 5, 4, 8},
	"organization":               {2, 5, 4, 10},
	"organizationalunit":         {2, 5, 4, 11},
	"title":                      {2, 5, 4, 12},
	"givenname":                  {2, 5, 4, 42},
	"initials":                   {2, 5, 4, 43},
	"generationqualifier":        {2, 5, 4, 44},
	"distinguishednamequalifier": {2, 5, 4, 46},
	"pseudonym":                  {2, 5, 4, 65},
}

// generalNames are the kinds of alternative names, by their tags (RFC 5280,
// section 4.2.1.6).
var generalNames = map[string]int{
	"rfc822name": 1, "dnsname": 2, "directoryname": 4, "uniformresourceidentifier": 6, "ipaddress": 7,
}

var certificateVariables = []struct {
	prefix string
	id     varID
}{
	{"iot:certificate.subjectalternativename.", varSubjectAlt},
	{"iot:certificate.issueralternativename.", varIssuerAlt},
	{"iot:certificate.subject.", varSubject},
	{"iot:certificate.issuer.", varIssuer},
}

// parseVariable finds out which variable name is. Names are compared without
// regard to case, thing attributes with it. The id of an unknown one is
// varUnknown.
func parseVariable(name string) variable {
	v := variable{name: name}
	low := strings.ToLower(name)
	if v.id = plainVariables[low]; v.id != varUnknown {
		return v
	}
	for _, prefix := range []string{"iot:connection.thing.attributes[", "iot:thing.attributes["} {
		if strings.HasPrefix(low, prefix) && strings.HasSuffix(low, "]") && len(name) > len(prefix)+1 {
			v.id, v.attr = varThingAttribute, name[len(prefix):len(name)-1]
			return v
		}
	}
	for _, c := range certificateVariables {
		if rest, ok := strings.CutPrefix(low, c.prefix); ok {
			return v.certificate(c.id, rest)
		}
	}
	return v
}

// certificate fills in a variable such as Subject.CommonName, with an optional
// ".1" or ".List" behind it.
func (v variable) certificate(id varID, rest string) variable {
	attr, which, more := strings.Cut(rest, ".")
	known := nameAttributes[attr] != nil
	if id == varSubjectAlt || id == varIssuerAlt {
		known = generalNames[attr] != 0
	}
	if more && which == "list" {
		v.list = true
	} else if more {
		n, err := strconv.ParseUint(which, 10, 8)
		known = known && err == nil
		v.index = int(n)
	}
	if known {
		v.id, v.attr = id, attr
	}
	return v
}

// multi says whether the variable has a list of values.
func (v variable) multi() bool {
	return v.list || v.id == varConnectAttributes || v.id == varAvailableKeys
}

// scope is where variables get their values.
type scope struct {
	*Subject
	arn     string // what stands before the resource in an ARN, for iot:LastWillTopic
	connect bool   // the question is iot:Connect: only there its own keys exist
}

// lookup returns the values of v, at least one; the error says why there is
// none, and what to do.
func (s *scope) lookup(v variable) ([]string, error) {
	switch v.id {
	case varClientID:
		return one(s.ClientID, "the request has no MQTT client id")
	case varSourceIP:
		return one(s.SourceIP, "the address of the client is not known")
	case varDomainName:
		return one(s.DomainName, "the client sent no server name (SNI)")
	case varCertificateID:
		return one(s.CertificateID, "the client has no certificate")
	case varThingAttached:
		return []string{strconv.FormatBool(s.Thing != nil)}, nil
	case varThingName, varThingType, varThingAttribute:
		return s.thing(v)
	case varConnectAttributes, varLastWillTopic:
		return s.connection(v)
	case varPrivateNetwork:
		return nil, errors.New("the client did not come through a VPC endpoint, which there is only on AWS")
	case varUnknown:
		return nil, errors.New("no such variable")
	}
	if s.Certificate == nil {
		return nil, errors.New("the client has no certificate")
	}
	return certificateValues(s.Certificate, v)
}

func one(text, missing string) ([]string, error) {
	if text == "" {
		return nil, errors.New(missing)
	}
	return []string{text}, nil
}

func (s *scope) thing(v variable) ([]string, error) {
	if s.Thing == nil {
		return nil, fmt.Errorf("no thing named %q, the client id, is attached to the certificate", s.ClientID)
	}
	switch v.id {
	case varThingName:
		return one(s.Thing.Name, "the thing has no name")
	case varThingType:
		return one(s.Thing.TypeName, fmt.Sprintf("thing %q has no type", s.Thing.Name))
	}
	text, ok := s.Thing.Attributes[v.attr]
	if !ok {
		return nil, fmt.Errorf("thing %q has no attribute %q", s.Thing.Name, v.attr)
	}
	return []string{text}, nil
}

// connection returns the keys that exist on iot:Connect alone (AWS IoT
// developer guide, "Using connectAttributes").
func (s *scope) connection(v variable) ([]string, error) {
	if !s.connect {
		return nil, errors.New("it exists on iot:Connect only")
	}
	if v.id == varLastWillTopic {
		if s.LastWillTopic == "" {
			return nil, errors.New("the client set no last will")
		}
		return []string{s.arn + "topic/" + s.LastWillTopic}, nil
	}
	var out []string
	if s.PersistentConnect {
		out = append(out, "PersistentConnect")
	}
	if s.LastWill {
		out = append(out, "LastWill")
	}
	if out == nil {
		return nil, errors.New("the client asked for neither a persistent session nor a last will")
	}
	return out, nil
}

func certificateValues(c *x509.Certificate, v variable) ([]string, error) {
	var all []string
	switch v.id {
	case varSerialNumber:
		return []string{c.SerialNumber.String()}, nil
	case varAvailableKeys:
		all = availableKeys(c)
	case varSubject:
		all = nameValues(c.Subject, v.attr)
	case varIssuer:
		all = nameValues(c.Issuer, v.attr)
	case varSubjectAlt:
		all = alternativeNames(c, asn1.ObjectIdentifier{2, 5, 29, 17}, generalNames[v.attr])
	case varIssuerAlt:
		all = alternativeNames(c, asn1.ObjectIdentifier{2, 5, 29, 18}, generalNames[v.attr])
	}
	if v.index >= len(all) {
		return nil, errors.New("the certificate has no such attribute")
	}
	if v.multi() {
		return all, nil
	}
	return all[v.index : v.index+1], nil
}

func nameValues(n pkix.Name, attr string) []string {
	var out []string
	for _, a := range n.Names {
		if text, ok := a.Value.(string); ok && a.Type.Equal(nameAttributes[attr]) {
			out = append(out, text)
		}
	}
	return out
}

// availableKeys names the certificate's variables that have a value. How AWS
// writes them is not documented; the full names are used.
func availableKeys(c *x509.Certificate) []string {
	out := []string{"iot:Certificate.SerialNumber"}
	for _, n := range []struct {
		prefix string
		name   pkix.Name
	}{{"iot:Certificate.Subject.", c.Subject}, {"iot:Certificate.Issuer.", c.Issuer}} {
		for display, attr := range displayNames {
			if nameValues(n.name, attr) != nil {
				out = append(out, n.prefix+display)
			}
		}
	}
	slices.Sort(out)
	return out
}

// displayNames are the attribute names as the documentation writes them.
var displayNames = map[string]string{
	"CommonName": "commonname", "Surname": "surname", "SerialNumber": "serialnumber", "Country": "country",
	"State": "state", "Organization": "organization", "OrganizationalUnit": "organizationalunit", "Title": "title",
	"GivenName": "givenname", "Initials": "initials", "GenerationQualifier": "generationqualifier",
	"DistinguishedNameQualifier": "distinguishednamequalifier", "Pseudonym": "pseudonym",
}

// alternativeNames reads the names of one kind from the extension id of c
// (RFC 5280, section 4.2.1.6). A malformed extension has no names.
func alternativeNames(c *x509.Certificate, id asn1.ObjectIdentifier, tag int) []string {
	var out []string
	for _, ext := range c.Extensions {
		if !ext.Id.Equal(id) {
			continue
		}
		var names []asn1.RawValue
		if rest, err := asn1.Unmarshal(ext.Value, &names); err != nil || len(rest) > 0 {
			return nil
		}
		for _, n := range names {
			if n.Class == asn1.ClassContextSpecific && n.Tag == tag {
				out = append(out, generalName(n)...)
			}
		}
	}
	return out
}

func generalName(n asn1.RawValue) []string {
	switch n.Tag {
	case generalNames["ipaddress"]:
		if len(n.Bytes) != net.IPv4len && len(n.Bytes) != net.IPv6len {
			return nil
		}
		return []string{net.IP(n.Bytes).String()}
	case generalNames["directoryname"]:
		var rdn pkix.RDNSequence
		if rest, err := asn1.Unmarshal(n.Bytes, &rdn); err != nil || len(rest) > 0 {
			return nil
		}
		return []string{rdn.String()}
	}
	return []string{string(n.Bytes)}
}
