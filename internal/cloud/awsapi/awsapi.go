// Package awsapi is the front of the cloud's HTTP side: one [Front] serves
// every AWS API, the REST routes and the console on one origin. It finds out
// which service a request is for, verifies its signature before the service
// sees it, bounds what a stranger can send, and tells the log precisely why
// somebody was refused. The services themselves are in the packages below it;
// they share the REST-JSON wire rules, the router on escaped paths and the
// caller's identity that live here.
package awsapi
