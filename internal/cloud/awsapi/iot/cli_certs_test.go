package iot

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// openssl runs a command of openssl in dir.
func openssl(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command("openssl", args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// testCertificates follows "Create your own client certificates" of the AWS
// IoT developer guide, with openssl and the CLI.
func testCertificates(t *testing.T, aws *cli) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not installed")
	}
	srv, _, _ := newServer(t, t.TempDir())
	aws.url = srv.URL
	dir := t.TempDir()
	file := func(name string) string { return "file://" + filepath.Join(dir, name) }
	if err := os.WriteFile(filepath.Join(dir, "device.cnf"), []byte("basicConstraints=CA:FALSE\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _ := aws.run(t, "registrationCode", "get-registration-code")["registrationCode"].(string)
	openssl(t, dir, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "9", "-subj", "/CN=factory", "-keyout", "ca.key", "-out", "ca.pem")
	issue := func(name, subject string, newkey ...string) {
		openssl(t, dir, append([]string{"req", "-new", "-nodes", "-subj", subject, "-keyout", name + ".key", "-out", name + ".csr"}, newkey...)...)
		openssl(t, dir, "x509", "-req", "-in", name+".csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-set_serial", "0x7"+code[:6], "-days", "5", "-extfile", "device.cnf", "-out", name+".pem")
	}
	issue("verify", "/CN="+code, "-newkey", "rsa:2048")
	issue("wrong", "/CN=wrong", "-newkey", "rsa:2048")
	issue("board", "/CN=board", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384")

	aws.run(t, "RegistrationCodeValidationException", "register-ca-certificate", "--ca-certificate", file("ca.pem"), "--verification-certificate", file("wrong.pem"))
	aws.run(t, "CertificateValidationException", "register-certificate", "--certificate-pem", file("board.pem"), "--ca-certificate-pem", file("ca.pem"))
	ca, _ := aws.run(t, ":cacert/", "register-ca-certificate", "--ca-certificate", file("ca.pem"), "--verification-certificate", file("verify.pem"),
		"--set-as-active", "--allow-auto-registration", "--tags", "Key=site,Value=roof")["certificateId"].(string)
	aws.run(t, "ResourceAlreadyExistsException", "register-ca-certificate", "--ca-certificate", file("ca.pem"), "--verification-certificate", file("verify.pem"))
	aws.run(t, `"autoRegistrationStatus": "ENABLE"`, "describe-ca-certificate", "--certificate-id", ca)
	aws.run(t, ca, "list-ca-certificates", "--ascending-order")
	aws.run(t, "roof", "list-tags-for-resource", "--resource-arn", "arn:aws:iot:us-east-1:000000000001:cacert/"+ca)

	board, _ := aws.run(t, ":cert/", "register-certificate", "--certificate-pem", file("board.pem"), "--ca-certificate-pem", file("ca.pem"), "--status", "ACTIVE")["certificateId"].(string)
	aws.run(t, "ResourceAlreadyExistsException", "register-certificate", "--certificate-pem", file("board.pem"))
	aws.run(t, `"caCertificateId": "`+ca, "describe-certificate", "--certificate-id", board)
	aws.run(t, board, "list-certificates-by-ca", "--ca-certificate-id", ca)
	aws.run(t, `"certificateArn"`, "register-certificate-without-ca", "--certificate-pem", file("wrong.pem"))
	aws.run(t, "NotImplementedException", "transfer-certificate", "--certificate-id", board, "--target-aws-account", "123456789012")
	aws.run(t, "InvalidRequestException", "update-certificate", "--certificate-id", board, "--new-status", "PENDING_ACTIVATION")
	aws.run(t, "", "update-certificate", "--certificate-id", board, "--new-status", "REVOKED")
	aws.run(t, "", "delete-certificate", "--certificate-id", board)
	aws.run(t, "ResourceNotFoundException", "describe-certificate", "--certificate-id", board)

	for _, kind := range [][]string{{"rsa:3072"}, {"ec", "-pkeyopt", "ec_paramgen_curve:P-256"}, {"ec", "-pkeyopt", "ec_paramgen_curve:P-521"}} {
		issue("csr", "/CN=csr/O=home", append([]string{"-newkey"}, kind...)...)
		aws.run(t, "BEGIN CERTIFICATE", "create-certificate-from-csr", "--certificate-signing-request", file("csr.csr"), "--set-as-active")
	}
	openssl(t, dir, "req", "-new", "-nodes", "-subj", "/CN=ed", "-newkey", "ed25519", "-keyout", "ed.key", "-out", "ed.csr")
	aws.run(t, "InvalidRequestException", "create-certificate-from-csr", "--certificate-signing-request", file("ed.csr"))

	aws.run(t, "CertificateStateException", "delete-ca-certificate", "--certificate-id", ca)
	aws.run(t, "", "update-ca-certificate", "--certificate-id", ca, "--new-status", "INACTIVE", "--new-auto-registration-status", "DISABLE")
	aws.run(t, `"DISABLE"`, "describe-ca-certificate", "--certificate-id", ca)
	aws.run(t, "", "delete-ca-certificate", "--certificate-id", ca)
	aws.run(t, "", "delete-registration-code")
}

// testProvisioning makes and takes down what fleet provisioning needs.
func testProvisioning(t *testing.T, aws *cli) {
	srv, _, _ := newServer(t, t.TempDir())
	aws.url = srv.URL
	const body = `{"Parameters":{"Serial":{"Type":"String"}},"Resources":{
		"thing":{"Type":"AWS::IoT::Thing","Properties":{"ThingName":{"Fn::Join":["",["board-",{"Ref":"Serial"}]]}}},
		"certificate":{"Type":"AWS::IoT::Certificate","Properties":{"CertificateId":{"Ref":"AWS::IoT::Certificate::Id"}}},
		"policy":{"Type":"AWS::IoT::Policy","Properties":{"PolicyName":"boards"}}}}`
	role := "arn:aws:iam::000000000001:role/provision"
	aws.run(t, "InvalidRequestException", "create-provisioning-template", "--template-name", "fleet", "--provisioning-role-arn", role, "--template-body", "{}")
	aws.run(t, "InvalidRequestException", "create-provisioning-template", "--template-name", "fleet", "--provisioning-role-arn", role, "--template-body", body,
		"--pre-provisioning-hook", "targetArn=arn:aws:lambda:us-east-1:1:function:f,payloadVersion=2020-04-01")
	aws.run(t, `"defaultVersionId": 1`, "create-provisioning-template", "--template-name", "fleet", "--provisioning-role-arn", role, "--template-body", body,
		"--enabled", "--description", "boards", "--tags", "Key=a,Value=b")
	aws.run(t, "ResourceAlreadyExistsException", "create-provisioning-template", "--template-name", "fleet", "--provisioning-role-arn", role, "--template-body", body)
	aws.run(t, `"versionId": 2`, "create-provisioning-template-version", "--template-name", "fleet", "--template-body", body, "--set-as-default")
	aws.run(t, `"defaultVersionId": 2`, "describe-provisioning-template", "--template-name", "fleet")
	aws.run(t, `"isDefaultVersion": false`, "describe-provisioning-template-version", "--template-name", "fleet", "--version-id", "1")
	aws.run(t, "DeleteConflictException", "delete-provisioning-template-version", "--template-name", "fleet", "--version-id", "2")
	aws.run(t, "", "delete-provisioning-template-version", "--template-name", "fleet", "--version-id", "1")
	aws.run(t, `"versionId": 2`, "list-provisioning-template-versions", "--template-name", "fleet")
	aws.run(t, `"FLEET_PROVISIONING"`, "list-provisioning-templates")
	aws.run(t, `"Value": "b"`, "list-tags-for-resource", "--resource-arn", "arn:aws:iot:us-east-1:000000000001:provisioningtemplate/fleet")
	aws.run(t, "PRIVATE KEY", "create-provisioning-claim", "--template-name", "fleet")
	aws.run(t, "", "update-provisioning-template", "--template-name", "fleet", "--no-enabled")
	aws.run(t, "InvalidRequestException", "create-provisioning-claim", "--template-name", "fleet")

	cert, _ := aws.run(t, "", "create-keys-and-certificate", "--certificate-pem-outfile", filepath.Join(t.TempDir(), "c.pem"))["certificateId"].(string)
	params := "Serial=7,AWS::IoT::Certificate::Id=" + cert
	aws.run(t, "ResourceRegistrationFailureException", "register-thing", "--template-body", body, "--parameters", params)
	aws.run(t, "ResourceNotFoundException", "describe-thing", "--thing-name", "board-7")
	aws.run(t, "", "create-policy", "--policy-name", "boards", "--policy-document", strings.ReplaceAll(allowAll, `\`, ""))
	aws.run(t, "thing/board-7", "register-thing", "--template-body", body, "--parameters", params)
	aws.run(t, cert, "list-thing-principals", "--thing-name", "board-7")
	aws.run(t, `"ACTIVE"`, "describe-certificate", "--certificate-id", cert)
	aws.run(t, "", "delete-provisioning-template", "--template-name", "fleet")
	aws.run(t, "ResourceNotFoundException", "describe-provisioning-template", "--template-name", "fleet")
}

func testRoleAliases(t *testing.T, aws *cli) {
	srv, _, _ := newServer(t, t.TempDir())
	aws.url = srv.URL
	const role, arn = "arn:aws:iam::000000000001:role/gateway", "arn:aws:iot:us-east-1:000000000001:rolealias/a=1@x"
	made := aws.run(t, arn, "create-role-alias", "--role-alias", "a=1@x", "--role-arn", role, "--tags", "Key=k,Value=v")
	if made["roleAlias"] != "a=1@x" {
		t.Errorf("made %v", made)
	}
	aws.run(t, "ResourceAlreadyExistsException", "create-role-alias", "--role-alias", "a=1@x", "--role-arn", role)
	aws.run(t, "InvalidRequestException", "create-role-alias", "--role-alias", "a b", "--role-arn", role)
	aws.run(t, "InvalidRequestException", "create-role-alias", "--role-alias", "b", "--role-arn", "arn:aws:iam::000000000001:user/gateway")
	aws.run(t, "", "create-role-alias", "--role-alias", "b", "--role-arn", role, "--credential-duration-seconds", "43200")
	aws.run(t, `"credentialDurationSeconds": 3600`, "describe-role-alias", "--role-alias", "a=1@x")
	aws.run(t, `"Value": "v"`, "list-tags-for-resource", "--resource-arn", arn)
	aws.run(t, arn, "update-role-alias", "--role-alias", "a=1@x", "--credential-duration-seconds", "900")
	got, _ := aws.run(t, `"credentialDurationSeconds": 900`, "describe-role-alias", "--role-alias", "a=1@x")["roleAliasDescription"].(map[string]any)
	if got["roleArn"] != role || got["owner"] != "000000000001" || got["roleAliasArn"] != arn || got["creationDate"] == nil || got["lastModifiedDate"] == nil {
		t.Errorf("described as %v", got)
	}
	page := aws.run(t, "", "list-role-aliases", "--no-ascending-order")
	if list, _ := page["roleAliases"].([]any); len(list) != 2 || list[0] != "b" {
		t.Errorf("listed %v", page)
	}
	aws.run(t, "", "delete-role-alias", "--role-alias", "a=1@x")
	for _, verb := range []string{"delete-role-alias", "describe-role-alias", "update-role-alias"} {
		aws.run(t, "ResourceNotFoundException", verb, "--role-alias", "a=1@x")
	}
	aws.run(t, "endpointAddress", "describe-endpoint", "--endpoint-type", "iot:CredentialProvider")
}
