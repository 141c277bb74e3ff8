// Package awsapi is the HTTP front of the AWS services: it finds out which
// service a request is for, verifies its Signature V4 and hands it to that
// service's wire package (iot, iotdata, dynamodb, apigateway), which maps it
// to the engines and answers in the service's own format.
package awsapi
