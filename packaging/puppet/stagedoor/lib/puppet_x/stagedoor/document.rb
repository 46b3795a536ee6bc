# frozen_string_literal: true

require 'tempfile'

# A namespace by Puppet's convention for Ruby that modules share.
module PuppetX
  # What the types of this module have in common.
  module Stagedoor
    # A HOCON file of Puppet Server: single values read and set, comments and everything else kept as they are.
    #
    # It refuses to write what does not read back as meant: the file is parsed again before it replaces the old one,
    # in one step, with the old one's owner and mode.
    class Document
      RULES = 'authorization.rules'

      def self.read(path)
        raise Puppet::Error, "#{path} is not there: is Puppet Server installed, and is this its conf.d?" unless File.file?(path)

        new(path, File.read(path, encoding: 'UTF-8'))
      end

      def initialize(path, text)
        # Here and not above: a server that compiles catalogs loads the types, and need not have the gem.
        require 'hocon'
        require 'hocon/parser/config_document_factory'
        require 'hocon/config_resolve_options'
        @path = path
        @text = text
        @tree = parse(text)
      rescue Hocon::ConfigError => e
        raise Puppet::Error, "#{path} is no HOCON that can be read: #{e.message}"
      end

      # What `write` writes.
      attr_reader :text

      # The value under a dotted key as Ruby has it; nil when there is none.
      def value(key)
        within(@tree, key)
      end

      def set(key, value)
        change(document.set_value(key, hocon(value)).render, key, value)
      end

      def remove(key)
        return if value(key).nil?

        change(without_blank_line(document.remove_value(key).render), key, nil)
      end

      # The authorization rule of this name; nil when there is none.
      def rule(name)
        rules.find { |rule| rule['name'] == name }
      end

      # Puts the rule first in the list, between two comments by which it is found again.
      def put_rule(rule)
        remove_rule(rule['name'])
        wanted = [rule] + rules
        after = start_of_rules + 1
        indent = @text[after..][/\A[ \t]*(?:#[^\n]*)?\r?\n([ \t]*)/, 1] || '        '
        block = block_of(rule).map { |line| "\n#{indent}#{line}" }.join
        # The block ends with a comment, which must not swallow what stands in the bracket's line.
        block += "\n#{indent}" unless @text[after..].match?(/\A[ \t\r]*\n/)
        change(@text.dup.insert(after, block), RULES, wanted)
      end

      def remove_rule(name)
        return if rule(name).nil?

        wanted = rules.reject { |rule| rule['name'] == name }
        block = /\n[ \t]*#{Regexp.escape(begins(name))}\n.*?#{Regexp.escape(ends(name))}(?=\r?\n)/m
        # Another module that rewrote the list has dropped every comment in it, ours too.
        made = @text.match?(block) ? @text.sub(block, '') : document.set_value(RULES, hocon(wanted)).render
        change(made, RULES, wanted)
      end

      def write
        # Where a link leads, or the link would be replaced.
        target = File.realpath(@path)
        about = File.stat(target)
        Tempfile.create('.stagedoor', File.dirname(target)) do |file|
          file.write(@text)
          file.chmod(about.mode & 0o7777)
          file.chown(about.uid, about.gid)
          file.fsync
          File.rename(file.path, target)
        end
      end

      private

      def rules
        found = value(RULES)
        raise Puppet::Error, "#{@path} has no list authorization.rules to put a rule into" unless found.is_a?(Array)

        found
      end

      def document
        Hocon::Parser::ConfigDocumentFactory.parse_string(@text)
      end

      def parse(text)
        options = Hocon::ConfigResolveOptions.new(false, true)
        Hocon::ConfigFactory.parse_string(text).resolve(options).root.unwrapped
      end

      # Takes the text that was made if it reads back with this value under the key.
      def change(made, key, wanted)
        tree = parse(made)
        raise Hocon::ConfigError.new(nil, 'another value came out', nil) unless within(tree, key) == wanted

        @text = made
        @tree = tree
      rescue Hocon::ConfigError => e
        raise Puppet::Error, "#{@path}: cannot change #{key} and keep the rest as it is (#{e.message}); write it by hand as #{wanted.inspect}"
      end

      def within(tree, key)
        key.split('.').reduce(tree) { |inner, name| inner.is_a?(Hash) ? inner[name] : nil }
      end

      # Where the list's bracket is: two documents that differ in the list alone differ from there on.
      def start_of_rules
        first_difference(document.set_value(RULES, '{}').render)
      end

      def first_difference(other)
        (0...@text.length).find { |at| @text[at] != other[at] }
      end

      # The gem takes a setting out of its line and leaves the line.
      def without_blank_line(made)
        at = first_difference(made)
        from = made.rindex("\n", at - 1) if at.positive?
        to = made.index("\n", at)
        from && to && made[from..to].strip.empty? ? made[0...from] + made[to..] : made
      end

      def block_of(rule)
        [begins(rule['name']), *hocon_object(rule), ends(rule['name'])]
      end

      def begins(name)
        "# Managed by Puppet: #{name}"
      end

      def ends(name)
        "# End of #{name}"
      end

      def hocon_object(rule)
        request = rule['match-request'].map { |key, value| "        #{key}: #{hocon(value)}" }
        others = rule.reject { |key, _| key == 'match-request' }.map { |key, value| "    #{key}: #{hocon(value)}" }
        ['{', '    match-request: {', *request, '    }', *others, '},']
      end

      # A plain word as people write it, everything else as JSON, which HOCON contains.
      def hocon(value)
        require 'json'
        plain = value.is_a?(String) && value.match?(/\A[a-z]+\z/) && !%w[true false null include on off yes no].include?(value)
        plain ? value : JSON.generate(value)
      end
    end
  end
end
