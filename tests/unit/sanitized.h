/*
 * Is the test built with AddressSanitizer or ThreadSanitizer? Both make calls of their own which no
 * confined process may make, the first when a process ends.
 */
#ifndef NATPUNCH_TESTS_SANITIZED_H
#define NATPUNCH_TESTS_SANITIZED_H

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED true
#endif
#endif
#ifndef SANITIZED
#define SANITIZED false
#endif

#endif
