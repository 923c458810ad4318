// Package invenio turns what an InvenioRDM site has configured for its hooks, REMOTE_API_PROVISIONER_EVENTS, into jobs.
//
// The value is read as Python writes it or as JSON, alone or in a whole configuration file. Nothing of it is run: only literals are
// understood. A name, a call, a lambda or an f-string becomes a marked place, which the check of jobs refuses until somebody has filled
// it in. Each endpoint becomes a job of its own, so that one which fails holds none of the others.
package invenio
