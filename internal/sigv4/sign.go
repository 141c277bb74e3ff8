package sigv4

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// Sign signs req, whose body is body, with the AWS SDK's signer, in the header
// form. The request must not be changed afterwards.
func Sign(ctx context.Context, req *http.Request, body []byte, creds aws.Credentials, service, region string, at time.Time) error {
	return v4.NewSigner().SignHTTP(ctx, creds, req, hashHex(body), service, region, at)
}

// Presign returns the URL of req with its signature in the query. The headers
// of the result must be sent with the request as they are.
func Presign(ctx context.Context, req *http.Request, body []byte, creds aws.Credentials, service, region string, at time.Time) (string, http.Header, error) {
	return v4.NewSigner().PresignHTTP(ctx, creds, req, hashHex(body), service, region, at)
}

func hashHex(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
