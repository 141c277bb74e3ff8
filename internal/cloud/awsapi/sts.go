package awsapi

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"

	"mote/internal/sigv4"
)

// sts answers GetCallerIdentity, with which people check their credentials
// (query protocol: form in, XML out; STS API reference, 2011-06-15).
type sts struct{ account string }

const stsNamespace = "https://sts.amazonaws.com/doc/2011-06-15/"

type stsIdentity struct {
	XMLName   xml.Name `xml:"GetCallerIdentityResponse"`
	Namespace string   `xml:"xmlns,attr"`
	Arn       string   `xml:"GetCallerIdentityResult>Arn"`
	UserID    string   `xml:"GetCallerIdentityResult>UserId"`
	Account   string   `xml:"GetCallerIdentityResult>Account"`
	RequestID string   `xml:"ResponseMetadata>RequestId"`
}

type stsError struct {
	XMLName   xml.Name `xml:"ErrorResponse"`
	Namespace string   `xml:"xmlns,attr"`
	Type      string   `xml:"Error>Type"`
	Code      string   `xml:"Error>Code"`
	Message   string   `xml:"Error>Message"`
	RequestID string   `xml:"RequestId"`
}

func (s sts) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	form := r.URL.Query()
	if body, err := Body(r); err == nil && len(body) > 0 {
		if form, err = url.ParseQuery(string(body)); err != nil {
			s.fail(w, http.StatusBadRequest, "MalformedQueryString", "the request body is not a form")
			return
		}
	}
	if action := form.Get("Action"); action != "GetCallerIdentity" {
		s.fail(w, http.StatusBadRequest, "InvalidAction", fmt.Sprintf("STS offers GetCallerIdentity here, not %.64q", action))
		return
	}
	id := NewRequestID()
	out := stsIdentity{Namespace: stsNamespace, Account: s.account, UserID: s.account, Arn: "arn:aws:iam::" + s.account + ":root", RequestID: id}
	if session := Caller(r.Context()).Session; session != nil {
		out.Arn, out.UserID = session.Principal, session.UserID
	}
	writeXML(w, http.StatusOK, id, out)
}

// Refuse implements Service. The query protocol has other names for the codes
// (IAM user guide, "Common errors").
func (s sts) Refuse(w http.ResponseWriter, _ *http.Request, e *sigv4.Error) {
	code := e.Code
	switch e.Code {
	case sigv4.CodeMissingToken:
		code = "MissingAuthenticationToken"
	case sigv4.CodeIncomplete:
		code = "IncompleteSignature"
	case sigv4.CodeInvalid:
		code = "SignatureDoesNotMatch"
	case sigv4.CodeUnknownKey:
		code = "InvalidClientTokenId"
	case sigv4.CodeExpired:
		code = "ExpiredToken"
	}
	s.fail(w, e.StatusOr(http.StatusForbidden), code, e.Message)
}

func (s sts) fail(w http.ResponseWriter, status int, code, message string) {
	id := NewRequestID()
	writeXML(w, status, id, stsError{Namespace: stsNamespace, Type: "Sender", Code: code, Message: message, RequestID: id})
}

func writeXML(w http.ResponseWriter, status int, requestID string, body any) {
	data, err := xml.Marshal(body)
	if err != nil {
		status, data = http.StatusInternalServerError, nil
	}
	w.Header().Set("Content-Type", "text/xml")
	w.Header().Set("x-amzn-RequestId", requestID)
	w.WriteHeader(status)
	_, _ = w.Write(data)
}
