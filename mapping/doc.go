// Package mapping makes requests of rows: a job's emit rule, filter, mask, data map and templates, compiled once, run on every row. It is
// pure: no I/O, no time, no logging; what an operator should hear is in errors and Warnings, and no text of ours ever holds a row's.
//
// # Rules
//
// Each rule is held by the golden file of its name in testdata/rules.
//
//	finds-nothing        an expression that finds nothing: its key is absent, everywhere
//	finds-one            an expression that finds one value: that value, null and lists included
//	finds-many           an expression that finds several values: a list, in document order
//	null-expression      null in place of an expression: a null key
//	message              $ is {msg, schema, constant, kafka, event}; a path without $ starts there too
//	constant             $.constant.x is the job's own value, looked up once, when the job is accepted
//	exact-values         integers are exact, numbers print as they came, key order is kept
//	no-json              NaN and infinities have no JSON: a payload error
//	emit                 a row leaves if the first value that emit.field finds in it is one of emit.values
//	filter               a row goes on if filter finds anything in the message, be it false or null
//	mask                 fields annotated above mask.emit are removed, nested ones too; an unknown level counts as the highest
//	order                emit rule, then filter, then mask, then the data map: a masked field can still decide
//	tombstone            msg is null; emit rule, filter and mask do not apply
//	json-body            an object of the keys listed, in that order, for every method; absent keys are left out, null stays
//	json-body-empty      an empty json_body: no body
//	form-body            form fields of the keys listed; what is no text is JSON; absent keys are left out
//	query-params         null and absent are left out, a list repeats its key, booleans are lower case, objects are JSON
//	url-key              {key} and {$.path} are one path segment, query value or piece of fragment: nothing in them is syntax
//	url-reserved         {+key} leaves reserved characters and what is encoded, but ends no path or query and adds no ..
//	url-path             in a path nothing, null, an empty text, ., .., a list or an object is a payload error
//	url-query            in a query nothing and null drop their parameter, a list repeats it
//	url-braces           {{ and }} are braces
//	url-climb            no value leads out of its place in the path: dots, slashes and backslashes, encoded however often
//	choice               {when, then, else} for url and type: then if when finds anything but null and false, or with {field, values} one of the values
//	headers              texts with placeholders; nothing and null drop the header
//	header-lines         a line end or control character in a header's value is a payload error
//	content-type         set for a body, unless headers has one
//	payload              any JSON; a text that begins with $ is an expression; what finds nothing is left out
//	payload-literal      a text that begins with $$ is a text that begins with $
//	payload-nothing      a payload that is one expression which finds nothing is a payload error
//	jq                   {"$jq": program}: one output is the value, several are a list, none is nothing; members come in the order of their names
//	jq-message           a program's . is the message, and $msg, $schema, $constant, $kafka and $event are its parts
//	jq-exact             numbers that a program passes on or adds up are exact past int64; NaN and infinities are a payload error
//	jq-error             a program's errors name kinds of values, and a text only if it stands in the program
//	jq-bounds            a program that loops, or makes something very large, is a payload error; there is no clock in that
//	jq-faults            a program without a meaning, or that reaches beyond the message, is refused with its place
//	routes               each route that matches makes one request, in their order; when it matches is as for a choice
//	routes-inherit       what a route does not say it takes from the job: one kind of body for any other, headers beside the job's
//	routes-fail          a route that cannot be mapped does not concern the others; one without a match makes no request
//	routes-faults        faults of all routes at once, each in its route
//	steps                requests before the row's own, in their order; each sees at $.steps what those before it were answered
//	steps-when           a step whose when finds nothing, null or false is not made, and $.steps has nothing of it
//	steps-body           a body is its JSON, else its text; one that is cut, or no JSON where something looks into it, is a payload error
//	steps-each           for_each makes a step once for every value found, which is at $.item; what it gives is a list
//	steps-path           for_each of a path a__b__c is a, a__b and a__b__c: those above first, each once, with what they gave at $.item.parent
//	steps-cache          cache keeps answers under a key, or the whole request; what creates or updates forgets it first
//	steps-routes         each route that matches has the steps before it
//	entity-found         an entity that is found is updated only if it differs; members that the row lacks are the entity's
//	entity-created       an entity that is not found is created; its id is that of the body, else the last name in Location
//	entity-select        select says which of the entities that read answers it is; several are a payload error
//	entity-missing       an entity that is not found and not to be created is a payload error, in the words of missing
//	entity-conflict      create answered 409: somebody else was quicker, so it is read once more
//	steps-masked         a step does not see what is masked
//	steps-faults         what is wrong with steps is reported at once, each with its place
//	steps-alone          a job of steps alone is refused, with the way to write it; so is a route that has no request
//	events               a record event makes the requests of its service and method, under whatever name; arguments of it are at $ too
//	events-payload       payload null: no body; left out: the record; one that comes out empty is a payload error
//	events-owner         the owner is in reach only of methods with with_record_owner
//	events-suppress      an event within some time of a write that its record tells of makes no request
//	events-faults        faults of events at once, each in its method, with the name that was meant
//	faults               all that is wrong with a job is reported at once, each with its path and mend
//	warnings             what works otherwise than one may think is a warning: unknown keys in Aether's own lists, unknown roots
//
// # Expressions
//
// A path of members and elements ($.msg.a[0]) is a chain of look-ups on the row's tape. Everything else is walked here too, on the tape
// and in document order; ojg reads and runs the filters that only it knows (has, exists, empty, arithmetic inside a filter). Its own walk
// is not used: it goes level by level, gives filters no root, and its numbers end at int64. testdata/dialect.jsonl has every construct
// with what the original, jsonpath_ng 1.4.3, found; a fuzz test holds our walk to ojg's.
package mapping
