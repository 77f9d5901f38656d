/*
 * Is the test built with AddressSanitizer? At the end of a process that looks for leaks by calls
 * which no confined process may make.
 */
#ifndef NATPUNCH_TESTS_SANITIZED_H
#define NATPUNCH_TESTS_SANITIZED_H

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED true
#endif
#endif
#ifndef SANITIZED
#define SANITIZED false
#endif

#endif
