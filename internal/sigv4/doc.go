// Package sigv4 verifies AWS Signature Version 4, in the header and in the
// query (presigned) form, with one canonicaliser for both (IAM user guide,
// "Create a signed AWS API request"). Signing is the
// AWS SDK's own signer behind a small helper, so that what we verify is checked
// against what AWS's clients send.
package sigv4
